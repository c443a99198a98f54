/**
 * erf x = x P(x²) / Q(x²) for |x| below the bound, beyond which it rounds to 1: P and Q lowest power first, fitted by
 * Lawson's iteration on the relative error (2.2e-9). All coefficients are positive, so Horner's rule cancels nothing:
 * in float32 it is within 3.7e-7 of the true value everywhere. Both backends compute it so.
 */
export const erfNumerator = [
  1.128379225730896, 0.1924244910478592, 0.05556869879364967, 0.004191920161247253, 0.0004052870499435812,
  6.5719004851416685e-6,
] as const

/** See {@link erfNumerator}. */
export const erfDenominator = [
  1, 0.5038651823997498, 0.11720097064971924, 0.016206445172429085, 0.001406415132805705, 7.099180220393464e-5,
  2.480480532085494e-7,
] as const

/** See {@link erfNumerator}. */
export const erfBound = 3.92

const horner = (coefficients: readonly number[]): string =>
  coefficients.map((c) => `V(${c.toExponential()})`).reduceRight((sum, c) => `${c} + t * (${sum})`)

/** The function in WGSL, on values of type V. */
export const erfWgsl = `
fn erf(a: V) -> V {
  let x = clamp(a, V(-${erfBound}), V(${erfBound}));
  let t = x * x;
  return clamp(x * (${horner(erfNumerator)}) / (${horner(erfDenominator)}), V(-1.0), V(1.0));
}
`

import { describe, expect, it } from 'vitest'
import { f32, noMore, wgsl } from '../src/shaders/template.ts'

describe('wgsl tag', () => {
  it('pastes values and picks branches', () => {
    const text = (wide: boolean) => wgsl`a ${4}
#if ${wide}
vec4f
#else
f32
#endif
b`
    expect(text(true)).toMatch(/^a 4\s+vec4f\s+b$/)
    expect(text(false)).toMatch(/^a 4\s+f32\s+b$/)
  })

  it('picks one of many, nested', () => {
    const text = (n: number, inner: boolean) => wgsl`<
#if ${n === 0}
zero
#elif ${n < 3}
few
#if ${inner}
${n} inside
#else
outside
#endif
#elif ${n === 1}
never
#else
many
#endif
>`
    const words = (n: number, inner: boolean): string => text(n, inner).split(/\s+/).join(' ')
    expect(words(0, true)).toBe('< zero >')
    expect(words(1, true)).toBe('< few 1 inside >')
    expect(words(2, false)).toBe('< few outside >')
    expect(words(3, true)).toBe('< many >')
  })

  it('refuses values that WGSL cannot hold', () => {
    for (const value of [undefined, null, NaN, Infinity, {}, []]) {
      expect(() => wgsl`let x = ${value as unknown as number};`).toThrow(/let x =/)
    }
  })

  it('refuses leftover directives', () => {
    expect(() => wgsl`#fi ${true}`).toThrow(/#fi/)
    expect(() => wgsl`#if ${true} a`).toThrow()
    expect(() => wgsl`a #end`).toThrow(/#end/)
    expect(() => wgsl`#if ${true}\na`).toThrow(/no #endif/)
    expect(() => wgsl`#endif`).toThrow(/has no #if/)
    expect(() => wgsl`#if`).toThrow(/not followed by a value/)
    expect(() => wgsl`#if ${true}\n#else\n#elif ${true}\n#endif`).toThrow(/"#elif"/)
  })

  it('writes f32 literals and refuses unknown keys', () => {
    expect([f32(1), f32(1e-5), f32(-0.25)]).toEqual(['1f', '0.00001f', '-0.25f'])
    expect(() => f32(NaN)).toThrow()
    expect(() => noMore({})).not.toThrow()
    expect(() => noMore({ tille: 8 } as unknown as Record<string, never>)).toThrow(/tille/)
  })
})

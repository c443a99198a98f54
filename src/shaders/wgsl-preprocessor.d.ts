// wgsl-preprocessor ships no types and no main, so its one file is named in full.
declare module 'wgsl-preprocessor/wgsl-preprocessor.js' {
  export function wgsl(strings: TemplateStringsArray, ...values: readonly unknown[]): string
}

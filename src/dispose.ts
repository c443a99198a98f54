// Safari 26 and older browsers have no Symbol.dispose, under which every object here has its `dispose` for `using`: a
// class would have a method called "undefined" there. TypeScript's `using` takes what the global has, esbuild's a
// symbol of this name.
if (!Symbol.dispose) Object.defineProperty(Symbol, 'dispose', { value: Symbol.for('Symbol.dispose') })

export {}

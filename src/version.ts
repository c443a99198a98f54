/** The version of the package; test/package.test.ts holds it to package.json, which a page does not have. */
export const version = '0.1.0'

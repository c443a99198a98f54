/**
 * What draws the charts: Observable Plot, and linkedom for a document in Node. The build bundles this one module, so
 * that who installs the package installs none of their sixty packages.
 */
export { areaY, dot, line, plot, rectY, ruleX, ruleY, text } from '@observablehq/plot'
export { parseHTML } from 'linkedom'

/** `npm run build`: compiles src/ to dist/ where something changed. */
import { build } from './steps.js'

await build()

/** `npm run kernels`: `tweedie bench` of the sources, which need not be built for it. */
import { main } from '../src/cli/main.ts'

process.exitCode = await main(['bench', ...process.argv.slice(2)])

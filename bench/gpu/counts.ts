/**
 * Counts what the networks' passes ask of a GPU; no GPU is needed, and it takes some seconds.
 *
 *     ./run.sh gpu/counts.ts             prints the table
 *     ./run.sh gpu/counts.ts --write     writes it to gpu/counts.json: say in the commit why it changed
 */
import { writeFileSync } from 'node:fs'
import { countTable } from './count-table.ts'
import { folder } from './folder.ts'

const table = await countTable()
if (process.argv.includes('--write')) writeFileSync(new URL('counts.json', folder), table)
else process.stdout.write(table)

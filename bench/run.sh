#!/bin/sh
# run.sh FILE.ts [arguments]: bundles a bench and runs it. The bundle lies in node_modules/.bench, which git ignores.
# tsconfig.json is not for esbuild: it names the peers' types, not the peers.
here=$(cd "$(dirname "$0")" && pwd)
name=$1; shift
out=$here/node_modules/.bench/$(basename "$name" .ts).mjs
mkdir -p "$(dirname "$out")"
node "$here/../scripts/kernels.js" || exit 1
"$here/../node_modules/.bin/esbuild" "$here/$name" --bundle --platform=node --target=node20 --format=esm --main-fields=module,main --external:webgpu --external:tinybench --external:playwright-core --external:puppeteer-core --external:@sparticuz/chromium \
  "--alias:#platform=$here/../src/platform/index.node.ts" --log-level=warning --tsconfig-raw='{}' --outfile="$out" \
  --banner:js="import { createRequire as benchRequire } from 'node:module'; const require = benchRequire(import.meta.url);" || exit 1
exec node "$out" "$@"

#!/bin/sh
# lab.sh FILE.ts [args]: bundles a lab script and runs it on lavapipe, cold (no Mesa disk cache) with COLD=1.
here=$(dirname "$0")
export VK_DRIVER_FILES=${VK_DRIVER_FILES:-/usr/share/vulkan/icd.d/lvp_icd.json}
[ -n "$COLD" ] && export MESA_SHADER_CACHE_DISABLE=true
name=$1; shift
out=$here/../../node_modules/.lab-$(basename "$name" .ts).mjs
npx --no-install esbuild "$here/$name" --bundle --platform=node --format=esm --external:webgpu --log-level=warning --outfile="$out" 2>/dev/null
exec node "$out" "$@" 2>&1 | grep --line-buffered -v '^Warning: max'

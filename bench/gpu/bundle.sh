#!/usr/bin/env bash
# bundle.sh [gpu-bundle.sh's further arguments]: packs measure.ts, the tests of kernels and the goldens of networks into
# .gpu/, for a machine with a GPU and nothing else; see ../../../shared/tools/gpu-bundle.sh. Run in the project's root.
#
# That tool names a file for `#platform` that has moved since. Until it knows, a copy of it is told here.
set -eu
[ -d ../shared/tools ] || { echo 'bundle.sh: run me in the project root, with ../shared beside it' >&2; exit 1; }
work="$(mktemp -d)"; trap 'rm -rf "$work"' EXIT
for entry in ../shared/*; do ln -s "$(realpath "$entry")" "$work/$(basename "$entry")"; done
rm "$work/tools"; cp -r ../shared/tools "$work/tools"; chmod -R u+w "$work/tools"
sed -i 's|src/tensor/webgpu/platform\.node\.ts|src/platform/index.node.ts|' "$work/tools/gpu/bundle.js"
"$work/tools/gpu-bundle.sh" bench/gpu/measure.ts test/long/kernels.test.ts test/ops-*.test.ts "$@"

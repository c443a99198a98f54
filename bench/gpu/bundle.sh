#!/usr/bin/env bash
# bundle.sh [gpu-bundle.sh's further arguments]: packs measure.ts, the tests of kernels and the goldens of networks into
# .gpu/, for a machine with a GPU and nothing else; see ../../../shared/tools/gpu-bundle.sh. Run in the project's root.
#
# That tool names a file for `#platform` that has moved since, knows nothing of vitest.config.ts's `setupFiles`, and
# follows no links to goldens. Until it does, a copy of it is told here.
set -eu
[ -d ../shared/tools ] || { echo 'bundle.sh: run me in the project root, with ../shared beside it' >&2; exit 1; }
work="$(mktemp -d)"; trap 'rm -rf "$work"' EXIT
cp -r ../shared/{goldens,weights,data,tools} "$work"; chmod -R u+w "$work"
sed -i 's|src/tensor/webgpu/platform\.node\.ts|src/platform/index.node.ts|' "$work/tools/gpu/bundle.js"
sed -i 's|contents: `import { run }|contents: `import "./src/tensor/with-cpu.ts"\\nimport "./src/tensor/with-webgpu.ts"\\nimport { run }|' "$work/tools/gpu/bundle.js"
trajectories='ddpm20-adm16 ddpm20-classifier-guided-adm16 ddim20-eta0-adm16 ddim20-eta0.7-adm16
  ddim20-classifier-guided-adm16 selfguided20-l2-adm16'
"$work/tools/gpu-bundle.sh" bench/gpu/measure.ts test/long/kernels.test.ts test/ops-*.test.ts \
  test/goldens-networks.test.ts test/goldens-trajectories.test.ts test/long/goldens-kernels.test.ts test/long/spec-full-size.test.ts "$@" \
  --golden adm16-new-order classifier16 adm64-formula $trajectories
git describe --always --dirty > .gpu/commit.txt

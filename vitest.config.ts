import { defineConfig } from 'vitest/config'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { generate } from './scripts/kernels.js'

/**
 * Files that `npm test` leaves to `npm run test:long`, so that it takes less than 8 minutes on two cores: many processes
 * one after the other, or WGSL on a software driver.
 */
const slow = [
  'backends',
  'cli-evaluate',
  'cli-minority',
  'cli-train-classifier',
  'cpu-failures',
  'cpu-process',
  'entries',
  'fetch',
  'lost-reader',
  'metrics-tiles',
  'outputs',
  'pages',
  'parametrization',
  'recipes',
  'replayed-steps',
  'spaces',
  'train-classifier',
  'train-upsampler',
  'two-stage',
].map((name) => `test/${name}.test.ts`)

// The sources import the compiled WebAssembly kernels.
await generate()

export default defineConfig({
  resolve: {
    // In the package `#platform` is chosen by the `node` condition and points at dist/; the tests run the sources.
    alias: { '#platform': fileURLToPath(new URL('src/platform/index.node.ts', import.meta.url)) },
  },
  test: {
    reporters: ['default', './test/shared-reporter.ts'],
    // The package's entries say which backends there are; most tests import the rooms.
    setupFiles: ['src/tensor/with-cpu.ts', 'src/tensor/with-webgpu.ts'],
    pool: 'forks',
    // The default leaves one core for vitest itself, which is half of two.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: 600_000,
    hookTimeout: 600_000,
    // `npm run coverage`. What child processes run (the installed package, pages, kills) is not counted.
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      exclude: ['src/wasm/**', 'src/tensor/cpu/generated/**', '**/*.d.ts'],
      reporter: ['text', 'html'],
      reportsDirectory: 'out/coverage',
    },
    // `npm test` runs the first, `npm run test:long` the second: dozens of kills, tens of thousands of samples.
    projects: [
      { extends: true, test: { name: 'tests', include: ['test/*.test.ts'], exclude: slow } },
      {
        extends: true,
        test: {
          name: 'long',
          include: [
            'test/long/*.test.ts',
            ...slow,
            'test/hostile-*.test.ts',
            'test/golden-adamw.test.ts',
            'test/goldens-trajectories.test.ts',
          ],
          // Read by test/slow.ts and test/hostile.ts.
          env: { TWEEDIE_LONG: '1' },
        },
      },
    ],
  },
})

/** Drawing, as a page shows it: what is drawn, how far, how fast, and what went wrong. */
import { computed, readonly, ref, shallowRef } from 'vue'
import { closeArms, drawArms, type Arm, type RunOptions } from './run.ts'
import { namedOf, sentenceOf, type Engine } from './engine.ts'
import type { State } from './state.ts'
import type { Named } from './told.ts'

/** A run that was begun: what it draws, and with which model. */
export interface Run {
  readonly state: State
  readonly model: Named
}

/** `details`: as `RunOptions` has it. */
export function drawing(engine: Engine, { details }: Pick<RunOptions, 'details'>) {
  const arms = shallowRef<readonly Arm[]>([])
  const run = shallowRef<Run | null>(null)
  const phase = ref<'idle' | 'loading' | 'drawing' | 'done' | 'stopped' | 'failed'>('idle')
  const problem = ref('')
  /** Megabytes of the model so far, and in all. */
  const loaded = ref<readonly [number, number]>([0, 0])
  /** Steps a second, of all arms. */
  const pace = ref(0)
  let controller: AbortController | null = null
  let ended = false

  /** Draws `state`; what is being drawn is stopped. */
  async function draw(state: State): Promise<void> {
    if (ended) return
    controller?.abort()
    const mine = new AbortController()
    const { signal } = mine
    controller = mine
    problem.value = ''
    loaded.value = [0, 0]
    phase.value = 'loading'
    try {
      const told = (done: number, total: number): void => {
        loaded.value = [done / 1e6, total / 1e6]
      }
      const client = await engine.ready(state.backend, told, signal)
      signal.throwIfAborted()
      phase.value = 'drawing'
      const model = namedOf(engine.choice.value, client.info)
      const shown = arms.value
      const begun = performance.now()
      for await (const coming of drawArms(client, { state, model, details, signal })) {
        // The pictures of the run before stay until there are others.
        if (run.value?.state !== state) {
          run.value = { state, model }
          closeArms(shown)
        }
        arms.value = coming
        pace.value = (1000 * coming.reduce((sum, { done }) => sum + done, 0)) / (performance.now() - begun)
      }
      phase.value = 'done'
    } catch (error) {
      // A run that another one replaced has nothing to say.
      if (controller !== mine) return
      phase.value = signal.aborted ? 'stopped' : 'failed'
      if (!signal.aborted) problem.value = sentenceOf(error)
    }
  }

  return {
    arms,
    run,
    phase: readonly(phase),
    problem,
    loaded,
    pace,
    running: computed(() => phase.value === 'loading' || phase.value === 'drawing'),
    draw,
    stop: (): void => controller?.abort(),
    /** Gives everything back; nothing is drawn any more. */
    end(): void {
      ended = true
      controller?.abort()
      controller = null
      closeArms(arms.value)
      arms.value = []
    },
  }
}

export type Drawing = ReturnType<typeof drawing>

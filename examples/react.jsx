/**
 * A component that draws cells in a worker, for React 18 and newer: copy it, serve node_modules/tweedie/weights as
 * /weights/, and render <Cells />. What it starts ends when it is unmounted, also between the two mounts of StrictMode.
 */
import { useEffect, useRef, useState } from 'react'
import { TweedieClient } from 'tweedie/client'

/** A client as long as the component lives; null until it is there. */
function useClient(model, weights) {
  const [state, setState] = useState({ client: null, loaded: 0, error: null })
  useEffect(() => {
    const controller = new AbortController()
    const onProgress = (done, total) => setState({ client: null, loaded: done / total, error: null })
    let client = null
    TweedieClient.load(model, { weights, onProgress, signal: controller.signal }).then(
      (loaded) => {
        client = loaded
        if (controller.signal.aborted) client.dispose()
        else setState({ client, loaded: 1, error: null })
      },
      (error) => controller.signal.aborted || setState({ client: null, loaded: 0, error }),
    )
    return () => {
      controller.abort()
      client?.dispose()
    }
  }, [model, weights])
  return state
}

export function Cells({ number = 8, steps = 50, weights = '/weights/' }) {
  const { client, loaded, error } = useClient('bccd32', weights)
  const [seed, setSeed] = useState(null) // of the run that goes on; null: none
  const [said, setSaid] = useState('')
  const canvases = useRef([])

  useEffect(() => {
    if (!client || seed === null) return
    const controller = new AbortController()
    const { signal } = controller
    const draw = async () => {
      for await (const { images, done, total } of client.sample({ number, steps, seed, method: 'minority-guided', preview: true, signal })) {
        if (signal.aborted) return
        images.forEach((image, k) => image && canvases.current[k].getContext('bitmaprenderer').transferFromImageBitmap(image))
        setSaid(`Step ${done} of ${total}`)
      }
      setSaid('Done.')
      setSeed(null)
    }
    draw().catch((error) => {
      if (signal.aborted) return
      setSaid(String(error)) // its messages say what to do
      setSeed(null)
    })
    return () => controller.abort()
  }, [client, seed, number, steps])

  if (error) return <p role="alert">{String(error)}</p>
  if (!client) return <progress value={loaded} />
  const size = client.info.imageSize
  return (
    <section>
      <button type="button" disabled={seed !== null} onClick={() => setSeed(Math.floor(Math.random() * 2 ** 32))}>Draw</button>
      <button type="button" disabled={seed === null} onClick={() => { setSeed(null); setSaid('Stopped.') }}>Stop</button>
      <p role="status">{said}</p>
      {Array.from({ length: number }, (_, k) => (
        <canvas key={k} width={size} height={size} style={{ width: 128, imageRendering: 'pixelated' }} ref={(canvas) => { canvases.current[k] = canvas }} />
      ))}
    </section>
  )
}

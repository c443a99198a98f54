/** The model that the playground draws with: the shipped set, or a file of the visitor's. */
import type { TweedieClient, TweedieClientOptions } from 'tweedie/client'

/** A file, and what it may need to be told. */
export interface OwnModel {
  readonly file: File
  /** The published model it is, for a file that does not say so itself. */
  readonly preset?: string
  /** A classifier of classes. */
  readonly classifier?: File
}

/** What is loaded. */
export type Choice = 'bccd32' | OwnModel

export const nameOf = (choice: Choice): string => (choice === 'bccd32' ? choice : choice.file.name)

/** Loads `choice` in the worker of `client`, or in a new one. Nothing of the library comes before this. */
export async function loadModel(
  choice: Choice,
  client: TweedieClient | null,
  options: Pick<TweedieClientOptions, 'backend' | 'weights' | 'onProgress' | 'signal'>,
): Promise<TweedieClient> {
  const { TweedieClient: Client } = await import('tweedie/client')
  const [model, own] =
    choice === 'bccd32'
      ? (['bccd32', {}] as const)
      : ([
          choice.file,
          {
            ...(choice.preset && { preset: choice.preset }),
            ...(choice.classifier && { classifier: choice.classifier }),
          },
        ] as const)
  if (!client) return Client.load(model, { ...own, ...options })
  await client.load(model, { ...own, ...options })
  return client
}

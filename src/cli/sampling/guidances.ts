/**
 * What leads a run's samples, from files to terms of the score: classifiers of classes, of minority levels and of
 * attributes, and Sehwag et al.'s pair. Files are opened and everything that can be said against them is said before a
 * device is asked for; then they are loaded; then each batch asks for its guidance, whose targets depend on the
 * samples' numbers and not on the batch.
 */
import { attributeGuidance, classifierLogits, randomAttributes } from '../../diffusion/index.ts'
import type { UNetConfig } from '../../nn/index.ts'
import { checkPixels, classifierFile, load, needOf, type ImageNeed } from '../../tweedie/guidance-files.ts'
import { openClasses } from '../../tweedie/guidance-classes.ts'
import { openMinority as openMinorityFiles } from '../../tweedie/guidance-minority.ts'
import type { Context, OpenGuidance, Opener } from './guidance-files.ts'
import { openSehwag } from './guidance-sehwag.ts'
import type { SampleSettings } from '../options/sample.ts'
import type { AttributeSettings, ClassifierSettings, MinoritySettings } from '../options/guidance.ts'

/** The guidances of a run in the order of their sum. */
export async function openGuidances(
  settings: SampleSettings,
  model: UNetConfig,
  images: ImageNeed,
  opener: Opener,
  signal: AbortSignal,
): Promise<OpenGuidance[]> {
  const context: Context = { settings, process: settings.process, model, images, opener, signal }
  const { classifier, minority, sehwag, attributes } = settings
  const opened: OpenGuidance[] = []
  if (classifier) opened.push(await openClassifier(classifier, context))
  if (minority) opened.push(await openMinority(minority, context))
  if (sehwag) opened.push(await openSehwag(sehwag, context))
  if (attributes) opened.push(await openAttributes(attributes, context))
  return opened
}

async function openClassifier(
  { file, preset, target, scale }: ClassifierSettings,
  context: Context,
): Promise<OpenGuidance> {
  const opened = await openClasses(file, preset, context)
  const { labels, seed } = context.settings
  const lead = opened.plan({ target, labels, scale, seed })
  return {
    needs: opened.needs(context.images),
    load: async (device, hold, signal) => {
      const classifier = await opened.load(device, hold, signal)
      return { name: 'classifier', lead: (samples, y) => lead(classifier, samples, y) }
    },
  }
}

async function openMinority(settings: MinoritySettings, context: Context): Promise<OpenGuidance> {
  const { labels, seed } = context.settings
  const opened = await openMinorityFiles(settings, context)
  const lead = opened.plan({ target: settings.target, scale: settings.scale, labels, seed })
  return {
    needs: opened.needs(context.images),
    load: async (device, hold, signal) => {
      const loaded = await opened.load(device, hold, signal)
      return { name: 'minority', lead: (samples, y) => lead(loaded, samples, y) }
    },
  }
}

async function openAttributes({ file: path, scale }: AttributeSettings, context: Context): Promise<OpenGuidance> {
  const file = await classifierFile('attributes-classifier', path, null, context)
  checkPixels(file, context)
  const { outChannels } = file.description.config
  const { seed } = context.settings
  return {
    needs: [needOf(file, context.images)],
    load: async (device, hold, signal) => {
      const classifier = hold(await load(device, file, context.opener, signal))
      return {
        name: 'attributes',
        lead: (samples, y) => {
          const targets = randomAttributes(outChannels, { seed, samples })
          return {
            guidance: attributeGuidance(classifierLogits(classifier, y ? { y } : {}), { targets, scale }),
            targets: targets.map((row) => row.map(Number).join('')),
          }
        },
      }
    },
  }
}

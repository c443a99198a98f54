/**
 * What `recipe images` picks for anyone's folder: a pure function of how many images there are, how large they are, the
 * hours given and how fast this machine trains. No publication says how to spend five minutes on 40 images, so the
 * rules are ours, drawn between what is published for large sets and what was measured here for small ones; every
 * number has its reason beside it.
 *
 * The time is split in fixed parts, so that more hours never mean less of anything; what is capped leaves hours unused.
 */
import { fail } from '../arguments.ts'

export interface ImageFacts {
  readonly count: number
  /** The shorter side of the smallest image. */
  readonly side: number
  /** Seconds that decoding and scaling all of them takes, once; 0 where they lie in memory. */
  readonly reading: number
}

/** Small: the network of the shipped weights. Large: about the DDPM for CIFAR-10. */
export type Width = 'small' | 'medium' | 'large'

/** A network whose speed has to be known. */
export interface Candidate {
  readonly size: number
  readonly width: Width
}

/** Images a second in training: of the diffusion model, and of the minority classifier for the same images. */
export interface Speed {
  readonly diffusion: number
  readonly classifier: number
}

/** By {@link speedKey}. */
export type Speeds = ReadonlyMap<string, Speed>

export const speedKey = ({ size, width }: Candidate): string => `${size} ${width}`

export interface ImageSettings extends Candidate {
  /** Part of the images that is held out, and how many that are. */
  readonly holdOut: number
  readonly heldOut: number
  readonly trained: number
  /** Images seen by the diffusion model. */
  readonly images: number
  readonly batch: number
  readonly microbatch: number
  readonly steps: number
  readonly warmup: number
  readonly lr: string
  readonly ema: number
  readonly dropout: number
  readonly logEvery: number
  readonly saveEvery: number
  /** Images that a checkpoint is evaluated on, and samples of its sheet. */
  readonly evaluateOn: number
  readonly sheet: number
  readonly draws: number
  readonly levels: number
  /** Images seen by the classifier. */
  readonly classifierImages: number
  readonly classifierBatch: number
  /** Steps of a sample. */
  readonly respacing: number
  /** Samples of each kind. */
  readonly number: number
  /** Whether the images are so few that more time would only teach them by heart. */
  readonly capped: boolean
  /** What each stage takes, by its command. */
  readonly seconds: Readonly<
    Record<
      'shrink' | 'select' | 'train diffusion' | 'score' | 'label' | 'train classifier' | 'quickstart' | 'memorization',
      number
    >
  >
}

export interface ImageWishes {
  readonly hours: number
  /** Side of the images; default: as large as the time allows. */
  readonly size?: number
  /** Samples of each kind. */
  readonly number: number
  readonly microbatch?: number
}

/** Seconds of every run, beside reading the images: starting a device four times, writing pages. */
const fixedSeconds = { select: 1, score: 2, label: 1, quickstart: 4, memorization: 2 }
const fixed = Object.values(fixedSeconds).reduce((a, b) => a + b)

/** Parts of the rest. What is left, a twentieth, is for a machine that is slower than it was. */
const share = { diffusion: 0.6, scoring: 0.04, classifier: 0.12, drawing: 0.15, checkpoints: 0.04 }
/** Of many images one score each may take more, which the diffusion model then has less of. */
const mostScoring = 0.24

/** Seconds of a part. */
const seconds = (time: number, part: number): number => Math.max(0, time) * part

/** Fewer than five images make no level: the classifier learns them, and not what they have in common. */
const fewestALevel = 5
/** Held out at least: the distances of fewer say nothing. At most: memorization compares each with all images. */
const fewestHeldOut = 4
const mostHeldOut = 500
export const fewestImages = fewestHeldOut + 2 * fewestALevel

/**
 * Images that a network has to see before it draws anything. Of 40 cells at 32 pixels there were colours after 2,500,
 * cells after 6,000; four thousand are between. Times eight for twice the side: four for the pixels, two for what there
 * is to tell in them. But never less than a thousand, in which the colours are learned.
 */
export const imagesNeeded = (size: number): number => Math.max(1_000, Math.round(4_000 * (size / 32) ** 3))

/**
 * Wider networks where the images and the time are there. The small one's loss on cells is flat after 200,000 to
 * 300,000 images (weights/bccd32-adm.md), 75 times what it needs to draw; the published one of CIFAR-10 saw 64,000,000
 * images of 50,000. With fewer images a wider network only learns them sooner by heart.
 */
const wider: readonly { readonly width: Width; readonly images: number; readonly needed: number }[] = [
  { width: 'medium', images: 2_000, needed: 75 },
  { width: 'large', images: 20_000, needed: 1_000 },
]

/**
 * Looks at each image, beyond which a network learns them by heart: published are 860 for ImageNet 64 (ADM) and 1,280
 * for CIFAR-10 (improved-diffusion), each with flips.
 */
const mostLooks = 1_000
/** The published classifiers saw each image 30 times (CIFAR-10); noise makes more of few. */
const mostClassifierLooks = 100

/** Steps of a sample: as published, else what of them there is time for. */
const respacings = [250, 100, 50, 25, 10]

/** A forward pass beside a step of training, which is that and twice as much backward. */
const forward = 1 / 3
/** Passes of scoring: one a draw, and reconstructions of at most 400 images for the page, one by one. */
const scoringPasses = (trained: number, draws = 1): number => draws * trained + 2 * Math.min(400, trained)
/**
 * Passes of a step of plain, self-guided and minority-guided drawing: one each, and every fifth step of the second
 * three more with their gradient.
 */
const drawingPasses = 1 + (1 + 6 / 5) + 1
/** Forward and back to the image, without the gradients of the weights. */
const classifierPass = 2 / 3

/** Powers of two, and below 32 pixels the images' own side, in multiples of 4, as CIFAR's and MNIST's. */
export function sizesFor({ side }: Pick<ImageFacts, 'side'>): number[] {
  const own = 4 * Math.floor(side / 4)
  return [...new Set([16, 32, 64, 128, 256, ...(own < 32 ? [own] : [])])]
    .filter((size) => size <= side && size >= 8)
    .sort((a, b) => a - b)
}

/** Images that the diffusion model sees. */
const seenIn = (time: number, { diffusion }: Speed, trained: number): number =>
  Math.min(
    seconds(time, share.diffusion) * diffusion,
    seconds(time, share.diffusion + share.scoring) * diffusion - scoringPasses(trained) * forward,
  )

/** Seconds of a forward pass of an image, and of a step of drawing in all three ways. */
function costs({ diffusion, classifier }: Speed, number: number): { readonly pass: number; readonly perStep: number } {
  const pass = forward / diffusion
  return { pass, perStep: number * (drawingPasses * pass + classifierPass / classifier) }
}

/** The shortest time in which everything has its part, beside what is fixed, and what beside more hours would help. */
function leastFor(
  speed: Speed,
  needed: number,
  trained: number,
  number: number,
): { readonly seconds: number; readonly remedy: string } {
  const { pass, perStep } = costs(speed, number)
  const parts: readonly (readonly [seconds: number, remedy: string])[] = [
    [needed / speed.diffusion / share.diffusion, ''],
    [
      (needed / speed.diffusion + scoringPasses(trained) * pass) / (share.diffusion + share.scoring),
      ' or fewer images',
    ],
    [(scoringPasses(trained) * pass) / mostScoring, ' or fewer images'],
    [(respacings.at(-1)! * perStep) / share.drawing, ' or a smaller --number'],
  ]
  const [most, remedy] = parts.reduce((a, b) => (b[0] > a[0] ? b : a))
  return { seconds: most, remedy }
}

/** What a checkpoint may cost: images it is evaluated on, and samples of a sheet, drawn in 50 steps. */
const checkpoints = [
  { evaluateOn: 512, sheet: 8 },
  { evaluateOn: 128, sheet: 8 },
  { evaluateOn: 32, sheet: 8 },
  { evaluateOn: 32, sheet: 0 },
  { evaluateOn: 0, sheet: 0 },
]

/**
 * The settings; or the next network whose speed has to be measured for them.
 *
 * @throws TweedieError 'option' for too few or too small images, and for too few hours
 */
export function imageSettings(
  facts: ImageFacts,
  wishes: ImageWishes,
  speeds: Speeds,
): ImageSettings | { readonly measure: Candidate } {
  const { count, side } = facts
  const time = 3600 * wishes.hours - fixed - facts.reading
  if (count < fewestImages)
    fail(
      `found ${count === 1 ? 'one image' : `${count} images`}: ${fewestImages} are the fewest of which something ` +
        `can be learned (two levels of ${fewestALevel}, and ${fewestHeldOut} held out). Add more.`,
    )
  const sizes = wishes.size === undefined ? sizesFor(facts) : [wishes.size]
  if (sizes.length === 0)
    fail(
      `the smallest image has a side of ${side} pixels, and the networks here begin at 8: leave ` +
        'it out or enlarge it first.',
    )
  if (wishes.size !== undefined && (wishes.size % 4 !== 0 || wishes.size < 8 || wishes.size > side)) {
    fail(
      `--size: expected a multiple of 4 from 8 to ${4 * Math.floor(side / 4)}, the shorter side of the smallest ` +
        `image, found ${wishes.size}.`,
    )
  }

  const trained = count - Math.min(mostHeldOut, Math.max(fewestHeldOut, Math.round(count / 10)))

  // From 32 pixels up while the time allows it, or down to what it allows.
  const enough = (candidate: Candidate, needed = imagesNeeded(candidate.size)): boolean | null => {
    const speed = speeds.get(speedKey(candidate))
    return speed === undefined ? null : time >= leastFor(speed, needed, trained, wishes.number).seconds
  }
  let at = Math.max(
    0,
    sizes.findLastIndex((size) => size <= 32),
  )
  const small = (i: number): Candidate => ({ size: sizes[i], width: 'small' })
  const first = enough(small(at))
  if (first === null) return { measure: small(at) }
  if (first) {
    // Larger pictures that would have to be looked at too often would be learned by heart. And no network trains faster
    // than a smaller one, which spares measuring it.
    const worthwhile = (needed: number): boolean => needed <= mostLooks * trained && enough(small(at), needed) === true
    for (; at + 1 < sizes.length && worthwhile(imagesNeeded(sizes[at + 1])); at++) {
      const next = enough(small(at + 1))
      if (next === null) return { measure: small(at + 1) }
      if (!next) break
    }
  } else {
    for (; at > 0 && !enough(small(at)); at--)
      if (!speeds.has(speedKey(small(at - 1)))) return { measure: small(at - 1) }
  }
  let chosen = small(at)
  for (const { width, images, needed } of wider) {
    const candidate = { ...chosen, width }
    if (trained < images || !enough(chosen, needed * imagesNeeded(chosen.size))) break
    const fits = enough(candidate, needed * imagesNeeded(chosen.size))
    if (fits === null) return { measure: candidate }
    if (!fits) break
    chosen = candidate
  }
  return settingsFor(chosen, speeds.get(speedKey(chosen))!, trained, time, facts, wishes)
}

function settingsFor(
  { size, width }: Candidate,
  speed: Speed,
  trained: number,
  time: number,
  { count, reading }: ImageFacts,
  { hours, size: asked, number, microbatch: given }: ImageWishes,
): ImageSettings {
  // Where a size was asked for, it may be learned badly.
  const needed = asked === undefined ? imagesNeeded(size) : 100
  const least = leastFor(speed, needed, trained, number)
  if (time < least.seconds) {
    fail(
      `--hours ${hours} is too short: ${count.toLocaleString('en')} images at ${size} x ${size} take ` +
        `${atLeast((least.seconds + fixed + reading) / 3600)} hours at least on this machine, which trains ` +
        `${Number(speed.diffusion.toPrecision(2))} a second. Give more hours${least.remedy}.`,
    )
  }
  const { pass, perStep } = costs(speed, number)
  const seen = Math.floor(seenIn(time, speed, trained))
  const enoughLooks = mostLooks * trained
  const images = Math.min(seen, enoughLooks)
  const largest = { small: 32, medium: 64, large: 128 }[width]
  // Two thousand steps or more, where the time has them: of fewer, larger ones less is learned.
  const batch = [128, 64, 32, 16].find((one) => one <= largest && images / one >= 2_000) ?? 8
  const steps = Math.ceil(images / batch)
  const classifierImages = Math.min(
    Math.ceil(seconds(time, share.classifier) * speed.classifier),
    Math.max(2_000, mostClassifierLooks * trained),
  )
  const draws = [8, 4, 2].find((k) => scoringPasses(trained, k) * pass <= seconds(time, share.scoring)) ?? 1
  const respacing = respacings.find((k) => k * perStep <= seconds(time, share.drawing)) ?? respacings.at(-1)!

  const costOf = ({ evaluateOn, sheet }: (typeof checkpoints)[number]): number =>
    pass * (Math.min(evaluateOn, trained) + Math.min(evaluateOn, count - trained) + 50 * sheet)
  const checkpoint = checkpoints.find((one) => costOf(one) <= seconds(time, share.checkpoints))!
  // One every ten minutes, as a run that is killed loses that, and three at least, if there is time for them.
  const wanted = Math.max(3, images / speed.diffusion / 600)
  const saved = Math.max(
    1,
    Math.min(Math.floor(wanted), Math.floor(seconds(time, share.checkpoints) / costOf(checkpoint))),
  )
  return {
    size,
    width,
    trained,
    heldOut: count - trained,
    holdOut: Number(((count - trained) / count).toPrecision(6)),
    images,
    batch,
    steps,
    ...checkpoint,
    saveEvery: Math.ceil(steps / saved),
    // Memory: 32 images of 64 x 64 at a time with the small network; the others are two and four times as wide.
    microbatch: given ?? Math.max(1, Math.min(batch, Math.floor(2 ** 22 / size ** 2 / largest))),
    warmup: Math.min(200, Math.round(steps / 20)),
    lr: { small: '6e-4', medium: '3e-4', large: '2e-4' }[width],
    ema: emaRate(steps),
    dropout: images >= 100 * trained ? 0.1 : 0,
    logEvery: Math.max(1, Math.min(500, Math.floor(steps / 100))),
    draws,
    levels: levelsFor(trained, classifierImages),
    classifierImages,
    classifierBatch: Math.min(32, batch),
    respacing,
    number,
    capped: seen > enoughLooks,
    seconds: {
      ...fixedSeconds,
      shrink: reading,
      'train diffusion': images / speed.diffusion + saved * costOf(checkpoint),
      score: fixedSeconds.score + scoringPasses(trained, draws) * pass,
      'train classifier': classifierImages / speed.classifier,
      quickstart: fixedSeconds.quickstart + respacing * perStep,
    },
  }
}

/**
 * An average that forgets half in a twentieth of the run. It has then forgotten the first, random weights (2^-20 of
 * them are left), and averages over the last tenth, where the learning rate falls to 0. Karras et al. (CVPR 2024) found
 * averages over 5 to 15 % of the run the best. At most the published 0.9999, which forgets half in 6,931 steps.
 */
export function emaRate(steps: number): number {
  const rate = 0.5 ** (20 / steps)
  return Math.max(0, Math.min(0.9999, Number(rate.toFixed(rate < 0.99 ? 3 : rate < 0.999 ? 4 : 5))))
}

/**
 * As many levels as images a level, but for a factor of four, so that both fall together: 3 levels of 12 of 36
 * images, 27 of 109 of 2,940, and the published 100 of 500 of CIFAR-10's 50,000. And each level is to be seen 500
 * times by the classifier.
 */
export const levelsFor = (trained: number, classifierImages: number): number =>
  Math.max(2, Math.min(100, Math.floor(Math.sqrt(trained) / 2), Math.floor(classifierImages / 500)))

/** For people: 40 s, 4.8 min, 12 min, 2.5 h. */
export function secondsText(seconds: number): string {
  if (seconds < 100) return `${Math.max(1, Math.round(seconds))} s`
  const [value, unit] = seconds < 6000 ? [seconds / 60, 'min'] : [seconds / 3600, 'h']
  return `${value < 10 ? Number(value.toFixed(1)) : Math.round(value)} ${unit}`
}

/** Two digits, rounded up. */
function atLeast(hours: number): number {
  const digit = 10 ** (Math.floor(Math.log10(hours)) - 1)
  return Number((Math.ceil(hours / digit) * digit).toPrecision(2))
}

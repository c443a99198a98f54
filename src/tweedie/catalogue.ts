/**
 * Published weights: where they lie and how one knows that they are they. An entry is listed only where its address has
 * a source, named here; a sha256 stands only where somebody published one, named beside it. Without one, the hash of
 * the first download is recorded and compared later.
 *
 * Not listed: the CelebA model of soobin-um/sg-minority's README, since it lies on Google Drive, which has no address
 * that a program may ask. Download it by hand and `tweedie convert` it with --preset celeba64_uncond.
 */
import { inceptionStateDict } from '../nn/inception-plan.ts'
import { resNet50, resNetStateDict, vgg16StateDict, viTB16, viTS16, viTStateDict } from '../nn/index.ts'
import type { LpipsNet } from '../nn/lpips-plan.ts'
import type { Shape } from '../tensor/index.ts'

/** A file that somebody publishes. */
export interface PublishedFile {
  /** Its address. */
  readonly url: string
  /** Where the address is published. */
  readonly source: string
  /** Hex digits of the file's sha256, all 64 or the first, and where they are published. */
  readonly sha256?: { readonly digits: string; readonly source: string }
}

/** What is fetched under a name. */
export type CatalogueEntry = {
  readonly name: string
  readonly licence: string
} /** One checkpoint; the preset of `name` says what network it is. */ & (
  | { readonly kind: 'model'; readonly file: PublishedFile }
  /** The network of a feature space, which must hold these tensors, of these shapes. */
  | { readonly kind: 'space'; readonly file: PublishedFile; readonly stateDict: () => ReadonlyMap<string, Shape> }
  /** A backbone of torchvision and LPIPS's linear layers, joined into the one file that --lpips takes. */
  | { readonly kind: 'lpips'; readonly net: LpipsNet; readonly backbone: PublishedFile; readonly lin: PublishedFile }
)

const openai = 'https://openaipublic.blob.core.windows.net/diffusion'

const published = (
  base: string,
  source: string,
  hashes: Readonly<Record<string, PublishedFile['sha256']>>,
  names: readonly string[],
): CatalogueEntry[] =>
  names.map((name) => ({
    kind: 'model',
    name,
    licence: 'MIT',
    file: { url: `${base}/${name}.pt`, source, ...(hashes[name] && { sha256: hashes[name] }) },
  }))

/** OpenAI publishes no hashes; others have published those of the files they use. */
const guided = published(
  `${openai}/jul-2021`,
  'openai/guided-diffusion README.md',
  {
    '256x256_diffusion_uncond': {
      digits: 'a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1',
      // Commits before that have the hash of another model there, their own "secondary" one (983e3de6).
      source: 'alembics/disco-diffusion disco.py, diff_model_map, at e13300ca',
    },
  },
  [
    '64x64_diffusion',
    '64x64_classifier',
    '128x128_diffusion',
    '128x128_classifier',
    '256x256_diffusion',
    '256x256_diffusion_uncond',
    '256x256_classifier',
    '512x512_diffusion',
    '512x512_classifier',
    '64_256_upsampler',
    '128_512_upsampler',
    'lsun_bedroom',
    'lsun_cat',
    'lsun_horse',
    'lsun_horse_nodropout',
  ],
)

const improved = published(`${openai}/march-2021`, 'openai/improved-diffusion README.md', {}, [
  'cifar10_uncond_50M_500K',
  'cifar10_uncond_vlb_50M_500K',
  'imagenet64_uncond_100M_1500K',
  'imagenet64_uncond_vlb_100M_1500K',
  'imagenet64_cond_270M_250K',
  'upsample_cond_500K',
  'lsun_uncond_100M_1200K_bs128',
  'lsun_uncond_100M_2400K_bs64',
])

/**
 * The minority classifier of LSUN bedrooms: `ckpt/mc_lsun.pt` in the repository itself, whose default branch HEAD
 * names.
 */
const minority: CatalogueEntry = {
  kind: 'model',
  name: 'mc_lsun',
  licence: 'MIT',
  file: {
    url: 'https://raw.githubusercontent.com/soobin-um/minority-guidance/HEAD/ckpt/mc_lsun.pt',
    source: 'soobin-um/minority-guidance README.md',
  },
}

/**
 * torchvision puts the first eight digits of the sha256 into the file's name; PyTorch's `load_url` documents the rule.
 */
const backbone = (file: string, digits: string, source: string): PublishedFile => ({
  url: `https://download.pytorch.org/models/${file}-${digits}.pth`,
  source: `pytorch/vision ${source}`,
  sha256: { digits, source: "the file's name, by the rule of torch.utils.model_zoo.load_url (check_hash)" },
})

const lin = (net: LpipsNet, digits: string): PublishedFile => ({
  url: `https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/${net}.pth`,
  source: 'richzhang/PerceptualSimilarity lpips/weights/v0.1, which lpips/lpips.py loads',
  sha256: { digits, source: 'the files of that repository, hashed by us' },
})

const lpips = (net: LpipsNet, backboneFile: PublishedFile, linFile: PublishedFile): CatalogueEntry => ({
  kind: 'lpips',
  name: `lpips_${net}`,
  net,
  licence: 'BSD-3 (torchvision) and BSD-2 (LPIPS)',
  backbone: backboneFile,
  lin: linFile,
})

/** The network of a feature space of torchvision. */
const ofTorchvision = (
  name: string,
  file: PublishedFile,
  stateDict: () => ReadonlyMap<string, Shape>,
): CatalogueEntry => ({ kind: 'space', name, licence: 'BSD-3', stateDict, file })

/**
 * torchvision's first weights (IMAGENET1K_V1), with which features have been published, and newer ones of ResNet-50.
 */
const torchvision: readonly CatalogueEntry[] = [
  ofTorchvision('resnet50', backbone('resnet50', '0676ba61', 'torchvision/models/resnet.py'), () =>
    resNetStateDict(resNet50),
  ),
  ofTorchvision('resnet50-v2', backbone('resnet50', '11ad3fa6', 'torchvision/models/resnet.py'), () =>
    resNetStateDict(resNet50),
  ),
  ofTorchvision('vgg16', backbone('vgg16', '397923af', 'torchvision/models/vgg.py'), () => vgg16StateDict()),
  ofTorchvision('resnet18', backbone('resnet18', 'f37072fd', 'torchvision/models/resnet.py'), () =>
    resNetStateDict({ block: 'basic', layers: [2, 2, 2, 2] }),
  ),
]

/** A backbone of DINO; nobody publishes a hash of it. */
const dino = (name: string, file: string, stateDict: () => ReadonlyMap<string, Shape>): CatalogueEntry => ({
  kind: 'space',
  name,
  licence: 'Apache-2.0',
  stateDict,
  file: {
    url: `https://dl.fbaipublicfiles.com/dino/${file}/${file}.pth`,
    source: 'facebookresearch/dino README.md, Pretrained models',
  },
})

/** Ported from TensorFlow's inception-2015-12-05, which is under the same licence. */
const inception: CatalogueEntry = {
  kind: 'space',
  name: 'inception',
  licence: 'Apache-2.0',
  stateDict: inceptionStateDict,
  file: {
    url: 'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth',
    source: 'mseitzer/pytorch-fid src/pytorch_fid/inception.py',
    sha256: {
      digits: '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2',
      source: 'snap-research/discoscene models/inception_model.py; its first eight stand in the name',
    },
  },
}

/** All that is fetched by name. */
export const catalogue: readonly CatalogueEntry[] = [
  ...guided,
  ...improved,
  minority,
  lpips(
    'alex',
    backbone('alexnet-owt', '7be5be79', 'torchvision/models/alexnet.py since pull request 3620'),
    lin('alex', 'df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0'),
  ),
  lpips(
    'squeeze',
    backbone('squeezenet1_1', 'b8a52dc0', 'torchvision/models/squeezenet.py'),
    lin('squeeze', '4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76'),
  ),
  lpips(
    'vgg',
    backbone('vgg16', '397923af', 'torchvision/models/vgg.py'),
    lin('vgg', 'a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868'),
  ),
  inception,
  ...torchvision,
  dino('dino-vits16', 'dino_deitsmall16_pretrain', () => viTStateDict(viTS16)),
  dino('dino-vitb16', 'dino_vitbase16_pretrain', () => viTStateDict(viTB16)),
]

/** The files of an entry. */
export const filesOf = (entry: CatalogueEntry): PublishedFile[] =>
  entry.kind === 'lpips' ? [entry.backbone, entry.lin] : [entry.file]

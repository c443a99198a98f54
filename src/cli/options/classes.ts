/** Classes of samples on the command line: `3,8`, `random` or `all`. */
import { labelWords, type LabelWish, type LabelWord } from '../../tweedie/labels.ts'
import { fail } from '../../tweedie/fail.ts'
import { integersKind, optionOf, type About, type Kind } from '../option.ts'

const classesKind: Kind<LabelWish> = {
  read: (word, name) => {
    if (labelWords.includes(word as LabelWord)) return word as LabelWord
    if (/[a-z]/i.test(word))
      fail(
        `--${name}: expected classes with commas between, as in 3,8, or ${labelWords.join(' or ')}, found "${word}".`,
      )
    return integersKind.read(word, name)
  },
  write: (wish) => (typeof wish === 'string' ? wish : integersKind.write(wish)),
}

export const classes = <A extends About<LabelWish>>(about: A) => optionOf(classesKind, about)

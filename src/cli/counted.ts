/** For people: "1 image", "2,000 images"; the noun is the singular of a word that takes an s. */
export const counted = (n: number, noun: string): string => `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`

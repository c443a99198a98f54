/** Metrics over host arrays: nearest neighbours, and what is made of them. */
export { avgKnn, countOf, nearest, type Neighbours, type NearestOptions, type Points, type SearchOptions } from './nearest.ts'
export { nearestPictures, turned, type NearestPictures, type Pictures } from './symmetries.ts'

/** Metrics over host arrays: nearest neighbours, and what is made of them. */
export { avgKnn, countOf, nearest, Search, type Neighbours, type NearestOptions, type Points, type SearchOptions } from './nearest.ts'
export { quantiles } from './quantiles.ts'
export { nearestPictures, turned, type NearestPictures, type Pictures } from './symmetries.ts'

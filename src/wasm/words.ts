/**
 * As the last field of a `Params` class: whole numbers, as many as the launch gives. The field is the first of them;
 * its address is the parameters' plus `offsetof`.
 */
export type Words = i32

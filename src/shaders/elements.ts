/**
 * The frame of kernels that compute one output element after another: `fn element(i: u32)` is called once for every i
 * below `p.count` (the first field of the kernel's uniform struct) and stores its result itself. A workgroup of
 * 64 lanes owns 256 consecutive elements and walks them 64 at a time, so that neighbouring lanes touch
 * neighbouring memory and a software adapter, which pays some 0.3 µs for every subgroup it starts (lavapipe
 * 25.0.7), starts a quarter of them.
 */

/** Elements of a workgroup. */
export const elementsPerWorkgroup = 256

/** The entry point; the kernel declares `p.count` and `element`. */
export const elementsMain = /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3<u32>) {
  let first = (group.x + group.y * groups.x) * ${elementsPerWorkgroup}u + lane;
  for (var e = 0u; e < ${elementsPerWorkgroup}u; e += 64u) {
    if (first + e >= u32(p.count)) { return; }
    element(first + e);
  }
}
`

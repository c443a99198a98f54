// bench/lab/gpu.ts
import { create, globals } from "webgpu";
Object.assign(globalThis, globals);
var gpu = create([]);
Object.assign(globalThis, { keepGpu: gpu });
var sleeper = new Int32Array(new SharedArrayBuffer(4));
async function asleep(promise) {
  let waiting = true;
  const nap = () => {
    if (waiting) {
      Atomics.wait(sleeper, 0, 0, 0.3);
      setImmediate(nap);
    }
  };
  setImmediate(nap);
  try {
    return await promise;
  } finally {
    waiting = false;
  }
}
var adapter = await gpu.requestAdapter();
var caps = {
  subgroup: adapter.features.has("subgroups") && adapter.info.subgroupMinSize === adapter.info.subgroupMaxSize ? adapter.info.subgroupMinSize : 0
};
var device = await adapter.requestDevice({
  requiredFeatures: caps.subgroup ? ["subgroups"] : [],
  requiredLimits: { maxComputeInvocationsPerWorkgroup: 256 }
});
device.addEventListener("uncapturederror", (e) => {
  console.error(e.error.message);
  process.exit(1);
});
function upload(data, usage = GPUBufferUsage.STORAGE) {
  const size = Math.max(16, data.byteLength);
  const buffer = device.createBuffer({ size, usage: usage | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC });
  device.queue.writeBuffer(buffer, 0, data);
  return buffer;
}
var uniform = (data) => upload(data, GPUBufferUsage.UNIFORM);
var empty = (n) => upload(new Float32Array(n));
var compiled = /* @__PURE__ */ new Map();
async function compile(code) {
  let pipeline = compiled.get(code);
  if (!pipeline) {
    const module = device.createShaderModule({ code });
    const messages = (await module.getCompilationInfo()).messages.filter((m) => m.type === "error");
    if (messages.length) {
      console.error(code.split("\n").map((l, i) => `${i + 1} ${l}`).join("\n"));
      for (const m of messages) console.error(m.lineNum, m.message);
      process.exit(1);
    }
    pipeline = device.createComputePipelineAsync({ layout: device.createPipelineLayout({ bindGroupLayouts: [layoutOf(code)] }), compute: { module, entryPoint: "main" } });
    compiled.set(code, pipeline);
  }
  return asleep(pipeline);
}
async function step(code, buffers, grid) {
  const pipeline = await compile(code);
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  return { pipeline, group: device.createBindGroup({ layout: layoutOf(code), entries }), grid };
}
async function run(steps, repeat = 1) {
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (let r = 0; r < repeat; r++) {
    for (const s of steps) {
      pass.setPipeline(s.pipeline);
      pass.setBindGroup(0, s.group);
      pass.dispatchWorkgroups(...s.grid);
    }
  }
  pass.end();
  const start = performance.now();
  device.queue.submit([encoder.finish()]);
  await asleep(device.queue.onSubmittedWorkDone());
  return performance.now() - start;
}
var median = (a) => [...a].sort((x, y) => x - y)[a.length >> 1];
function random(n, seed = 1) {
  let s = seed >>> 0;
  return Float32Array.from({ length: n }, () => (s = Math.imul(s, 1664525) + 1013904223 >>> 0) / 2 ** 31 - 1);
}
var layouts = /* @__PURE__ */ new Map();
function layoutOf(code) {
  const kinds = [...code.matchAll(/@binding\((\d+)\) var<(uniform|storage, read_write|storage, read|storage)>/g)].map((m) => m[2]);
  const key = kinds.join(";");
  if (!layouts.has(key)) layouts.set(key, device.createBindGroupLayout({ entries: kinds.map((kind, binding) => ({
    binding,
    visibility: GPUShaderStage.COMPUTE,
    buffer: { type: kind === "uniform" ? "uniform" : kind === "storage, read_write" ? "storage" : "read-only-storage" }
  })) }));
  return layouts.get(key);
}

// src/shaders/attention-tile.ts
var attentionThreads = 64;
var attentionTile = 32;
var depth = 16;
var quadsOf = (rows) => rows > 8 ? 4 : 8;
var strideOf = (rows) => quadsOf(rows) + 1;
var each = (count, line) => Array.from({ length: count }, (_, i) => line(i)).join("\n  ");
function attentionHead({ vector, rows }, reads, writes) {
  const type = vector ? "vec4<f32>" : "f32";
  const bindings = [...reads, ...writes].map((name, i) => `@group(0) @binding(${i + 1}) var<storage, ${i < reads.length ? "read" : "read_write"}> ${name}: array<${type}>;`);
  const load = (name) => `fn load_${name}(row: u32, token: u32, inside: bool) -> vec4<f32> {
  ${vector ? `let valid = inside && token < p.tokens;
  return select(vec4<f32>(), ${name}[select(0u, (row * p.tokens + token) / 4u, valid)], valid);` : `var v = vec4<f32>();
  let count = select(0u, min(4u, p.tokens - min(token, p.tokens)), inside);
  for (var k = 0u; k < count; k++) { v[k] = ${name}[row * p.tokens + token + k]; }
  return v;`}
}`;
  const store = (name) => `fn store_${name}(row: u32, token: u32, value: vec4<f32>) {
  ${vector ? `if (token < p.tokens) { ${name}[(row * p.tokens + token) / 4u] = value; }` : `var v = value;
  let count = min(4u, p.tokens - min(token, p.tokens));
  for (var k = 0u; k < count; k++) { ${name}[row * p.tokens + token + k] = v[k]; }`}
}`;
  return `
struct Attention { total: u32, heads: u32, width: u32, tokens: u32, headStep: u32, partStep: u32, tiles: u32, chunks: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Attention;
${bindings.join("\n")}
${reads.map(load).join("\n")}
${writes.map(store).join("\n")}

var<workgroup> stage: array<vec4<f32>, ${Math.max(16 * depth, 8 * rows * strideOf(rows))}>;
var<workgroup> tile: array<vec4<f32>, ${attentionTile * attentionTile / 4}>;
`;
}
var attentionMain = (rows) => `
  let index = wg.x + wg.y * grid.x;
  if (index >= p.total) { return; }
  let own = index % p.tiles * ${attentionTile}u;
  let chunk = index / p.tiles % p.chunks * ${8 * rows}u;
  let line = index / p.tiles / p.chunks;
  let n = line / p.heads;
  let h = line % p.heads;
  let q = n * 3u * p.heads * p.width + h * p.headStep;
  let k = q + p.partStep;
  let v = k + p.partStep;
  let first = line * p.width;
  let column = lane % 8u;
  let group = lane / 8u;
  ${each(rows, (r) => `var sum${r} = vec4<f32>();`)}`;
var scores = (name, ownLoad, ownRow, otherLoad, otherRow) => `
  ${each(4, (j) => `var ${name}${j} = vec4<f32>();`)}
  for (var c0 = 0u; c0 < p.width; c0 += ${depth}u) {
    workgroupBarrier();
    for (var e = lane; e < ${8 * depth}u; e += ${attentionThreads}u) {
      let c = c0 + e / 8u;
      let token = 4u * (e % 8u);
      stage[e] = load_${ownLoad}(${ownRow} + c, own + token, c < p.width);
      stage[e + ${8 * depth}u] = load_${otherLoad}(${otherRow} + c, other + token, c < p.width);
    }
    workgroupBarrier();
    for (var c = 0u; c < min(${depth}u, p.width - c0); c++) {
      let a = stage[8u * c + column];
      let b = stage[8u * c + group + ${8 * depth}u];
      ${each(4, (j) => `${name}${j} += b[${j}] * a;`)}
    }
  }`;
var weighted = (rows, otherLoad, otherRow) => `
  for (var j0 = 0u; j0 < min(${attentionTile}u, p.tokens - other); j0 += ${4 * quadsOf(rows)}u) {
    workgroupBarrier();
    for (var e = lane; e < ${8 * rows * quadsOf(rows)}u; e += ${attentionThreads}u) {
      let row = e / ${quadsOf(rows)}u;
      let quad = e % ${quadsOf(rows)}u;
      let c = chunk + row;
      stage[row * ${strideOf(rows)}u + quad] = load_${otherLoad}(${otherRow} + c, other + j0 + 4u * quad, c < p.width);
    }
    workgroupBarrier();
    for (var j = 0u; j < min(${quadsOf(rows)}u, (p.tokens - other - j0 + 3u) / 4u); j++) {
      let at = 8u * (j0 + 4u * j) + column;
      ${each(4, (i) => `let w${i} = tile[at + ${8 * i}u];`)}
      ${each(rows, (r) => `{ let x = stage[(group + ${8 * r}u) * ${strideOf(rows)}u + j]; sum${r} += x.x * w0 + x.y * w1 + x.z * w2 + x.w * w3; }`)}
    }
  }`;
var storeSums = (rows, name, row, factor) => `
  var sums = array<vec4<f32>, ${rows}>(${each(rows, (r) => `sum${r},`)});
  for (var r = 0u; chunk + group + 8u * r < min(p.width, chunk + ${8 * rows}u); r++) {
    store_${name}(${row} + chunk + group + 8u * r, own + 4u * column, sums[r] * (${factor}));
  }`;

// node_modules/wgsl-preprocessor/wgsl-preprocessor.js
var preprocessorSymbols = /#([^\s]*)(\s*)/gm;
var ConditionalState = class {
  elseIsValid = true;
  branches = [];
  constructor(initialExpression) {
    this.pushBranch("if", initialExpression);
  }
  pushBranch(token, expression) {
    if (!this.elseIsValid) {
      throw new Error(`#${token} not preceeded by an #if or #elif`);
    }
    this.elseIsValid = token === "if" || token === "elif";
    this.branches.push({
      expression: !!expression,
      string: ""
    });
  }
  appendStringToCurrentBranch(...strings) {
    for (const string of strings) {
      this.branches[this.branches.length - 1].string += string;
    }
  }
  resolve() {
    for (const branch of this.branches) {
      if (branch.expression) {
        return branch.string;
      }
    }
    return "";
  }
};
function wgsl(strings, ...values) {
  const stateStack = [];
  let state = new ConditionalState(true);
  state.elseIsValid = false;
  let depth2 = 1;
  const assertTemplateFollows = (match, string) => {
    if (match.index + match[0].length != string.length) {
      throw new Error(`#${match[1]} must be immediately followed by a template expression (ie: \${value})`);
    }
  };
  for (let i = 0; i < strings.length; ++i) {
    const string = strings[i];
    const matchedSymbols = string.matchAll(preprocessorSymbols);
    let lastIndex = 0;
    let valueConsumed = false;
    for (const match of matchedSymbols) {
      state.appendStringToCurrentBranch(string.substring(lastIndex, match.index));
      switch (match[1]) {
        case "if":
          assertTemplateFollows(match, string);
          valueConsumed = true;
          stateStack.push(state);
          state = new ConditionalState(values[i]);
          break;
        case "elif":
          assertTemplateFollows(match, string);
          valueConsumed = true;
          state.pushBranch(match[1], values[i]);
          break;
        case "else":
          state.pushBranch(match[1], true);
          state.appendStringToCurrentBranch(match[2]);
          break;
        case "endif":
          if (!stateStack.length) {
            throw new Error(`#${match[1]} not preceeded by an #if`);
          }
          const result = state.resolve();
          state = stateStack.pop();
          state.appendStringToCurrentBranch(result, match[2]);
          break;
        default:
          state.appendStringToCurrentBranch(match[0]);
          break;
      }
      lastIndex = match.index + match[0].length;
    }
    if (lastIndex != string.length) {
      state.appendStringToCurrentBranch(string.substring(lastIndex, string.length));
    }
    if (!valueConsumed && values.length > i) {
      state.appendStringToCurrentBranch(values[i]);
    }
  }
  if (stateStack.length) {
    throw new Error("Mismatched #if/#endif count");
  }
  return state.resolve();
}

// src/errors.ts
var TweedieError = class extends Error {
  name = "TweedieError";
  code;
  constructor(code, message, options) {
    super(message, options);
    this.code = code;
  }
};

// src/shaders/template.ts
function wgsl2(strings, ...values) {
  values.forEach((value, i) => {
    const usable = typeof value === "string" || typeof value === "boolean" || Number.isFinite(value);
    if (!usable) throw broken(`value ${i} is ${String(value)} after "${strings[i].trimEnd().slice(-40)}"`);
  });
  const text = wgsl(strings, ...values);
  const leftover = /#.*/.exec(text);
  if (leftover) throw broken(`directive "${leftover[0]}" is none of #if, #elif, #else, #endif`);
  return text;
}
function noMore(rest) {
  const unknown = Object.keys(rest);
  if (unknown.length > 0) throw broken(`unknown key ${unknown.join(", ")}`);
}
function broken(what) {
  return new TweedieError("shader-compile", `Shader template: ${what}`);
}

// src/shaders/attention-forward.ts
function attentionForward({ vector, rows, ...rest }) {
  noMore(rest);
  return wgsl2`
${attentionHead({ vector, rows }, ["qkv"], ["result", "logsumexp"])}
var<workgroup> peaks: array<vec4<f32>, ${attentionThreads}>;

// Below every score that is a number, and above those of keys that do not exist.
const lowest = -1e38f;

@compute @workgroup_size(${attentionThreads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) grid: vec3<u32>) {
  ${attentionMain(rows)}
  var top = vec4<f32>(lowest);
  var total = vec4<f32>();
  for (var other = 0u; other < p.tokens; other += 32u) {
    ${scores("s", "qkv", "q", "qkv", "k")}
    ${each(4, (j) => `s${j} = select(vec4<f32>(lowest), s${j} * p.scale, other + 4u * group + ${j}u < p.tokens);`)}
    peaks[lane] = max(max(s0, s1), max(s2, s3));
    workgroupBarrier();
    var newTop = top;
    for (var l = column; l < ${attentionThreads}u; l += 8u) { newTop = max(newTop, peaks[l]); }
    let shrink = exp(top - newTop);
    top = newTop;
    ${each(4, (j) => `s${j} = exp(s${j} - top);
    tile[8u * (4u * group + ${j}u) + column] = s${j};`)}
    total = total * shrink + ((s0 + s1) + (s2 + s3));
    ${each(rows, (r) => `sum${r} *= shrink;`)}
    ${weighted(rows, "qkv", "v")}
  }
  workgroupBarrier();
  peaks[lane] = total;
  workgroupBarrier();
  total = vec4<f32>();
  for (var l = column; l < ${attentionThreads}u; l += 8u) { total += peaks[l]; }
  if (chunk == 0u && group == 0u) { store_logsumexp(line, own + 4u * column, top + log(total)); }
  ${storeSums(rows, "result", "first", "1 / total")}
}
`;
}

// src/shaders/attention-gradient.ts
function attentionGradient({ vector, rows, by, ...rest }) {
  noMore(rest);
  const queries = by === "q";
  const at = (name, j) => queries ? name : `${name}[${j}]`;
  const where = queries ? "own + 4u * column" : "other + 4u * group";
  return wgsl2`
${attentionHead({ vector, rows }, ["qkv", "dOut", "logsumexp", "delta"], ["dqkv"])}

@compute @workgroup_size(${attentionThreads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) grid: vec3<u32>) {
  ${attentionMain(rows)}
  for (var other = 0u; other < p.tokens; other += 32u) {
    ${queries ? scores("s", "qkv", "q", "qkv", "k") : scores("s", "qkv", "k", "qkv", "q")}
    let norm = load_logsumexp(line, ${where}, true);
    ${each(4, (j) => `s${j} = select(vec4<f32>(), exp(s${j} * p.scale - ${at("norm", j)}), other + 4u * group + ${j}u < p.tokens);`)}
#if ${by !== "v"}
    ${queries ? scores("d", "dOut", "first", "qkv", "v") : scores("d", "qkv", "v", "dOut", "first")}
    let shift = load_delta(line, ${where}, true);
    ${each(4, (j) => `s${j} *= d${j} - ${at("shift", j)};`)}
#endif
    ${each(4, (j) => `tile[8u * (4u * group + ${j}u) + column] = s${j};`)}
    ${by === "q" ? weighted(rows, "qkv", "k") : by === "k" ? weighted(rows, "qkv", "q") : weighted(rows, "dOut", "first")}
  }
  ${storeSums(rows, "dqkv", by, by === "v" ? "1" : "p.scale")}
}
`;
}

// ../../tmp/att.ts
var mode = process.argv[2];
if (mode === "compile") {
  for (const rows of JSON.parse(process.argv[3] ?? "[1,4,8,16]")) for (const vector of [true, false]) {
    const out = [];
    for (const [name, code] of [["fwd", attentionForward({ vector, rows })], ...["q", "k", "v"].map((by) => [by, attentionGradient({ vector, rows, by })])]) {
      const t0 = performance.now();
      await compile(code);
      const t1 = performance.now();
      const c1 = process.cpuUsage();
      const buffers = [uniform(new Int32Array(16)), ...Array.from({ length: code.match(/@binding/g).length - 1 }, () => empty(16))];
      await run([await step(code, buffers, [1, 1, 1])]);
      const c = process.cpuUsage(c1);
      out.push(`${name} cpu ${((c.user + c.system) / 1e3).toFixed(0)}`);
    }
    console.log(vector ? "vector" : "scalar", rows, out.join("  "));
  }
} else {
  const [n, heads, d, T] = process.argv[3].split(",").map(Number);
  const C = heads * d;
  const rows = Math.ceil(d / Math.ceil(d / 128) / 8), chunks = Math.ceil(d / 128), tiles = Math.ceil(T / 32);
  const total = n * heads * chunks * tiles;
  const u = new Int32Array(16);
  u.set([total, heads, d, T, 3 * d, d, tiles, chunks]);
  new Float32Array(u.buffer)[8] = d ** -0.5;
  const U = uniform(u), X = upload(random(n * 3 * C * T)), O = empty(n * C * T), L = empty(n * heads * T), D = empty(n * heads * T), G = empty(n * 3 * C * T), dO = upload(random(n * C * T, 3));
  const keys = { vector: T % 4 === 0, rows };
  const product = 2 * n * C * T * T;
  const steps = [["fwd", await step(attentionForward(keys), [U, X, O, L], [total, 1, 1]), 2]];
  for (const by of ["q", "k", "v"]) steps.push([by, await step(attentionGradient({ ...keys, by }), [U, X, dO, L, D, G], [total, 1, 1]), by === "v" ? 2 : 3]);
  for (const [name, s, f] of steps) {
    const t = [];
    let c0 = process.cpuUsage(), c = c0;
    for (let i = 0; i < 8; i++) {
      if (i === 1) c0 = process.cpuUsage();
      t.push(await run([s]));
    }
    c = process.cpuUsage(c0);
    const cpu = (c.user + c.system) / 7e3;
    t.shift();
    console.log(name, "median", median(t).toFixed(2), "ms", (f * product / median(t) / 1e6).toFixed(2), "best", (f * product / Math.min(...t) / 1e6).toFixed(2), "GFLOP/s; per cpu second", (f * product / cpu / 1e6).toFixed(2));
  }
}
process.exit(0);

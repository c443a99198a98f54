/**
 * `fetch` through the proxy that the environment names: HTTPS_PROXY for https:, HTTP_PROXY for http:, in small letters
 * or capitals, but not to the hosts of NO_PROXY. Node's fetch asks none before Node 24, and there only with a switch;
 * Deno's and Bun's do so by themselves.
 */
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { TweedieError } from '../errors.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** What undici asks of a function that connects (its `Connector`). */
interface Target {
  readonly hostname: string
  readonly port: string
  readonly protocol: string
  readonly servername?: string | undefined
}
type Connected = (error: Error | null, socket: Socket | null) => void
type AgentClass = new (options: { connect: (target: Target, connected: Connected) => void }) => object

/**
 * The proxy for an address; null: none.
 * @throws TweedieError 'option' for a variable that is no address of a proxy
 */
export function proxyFor({ protocol, hostname, port }: Target | URL, environment: Environment): URL | null {
  const named = (name: string): string | undefined => environment[name.toLowerCase()] || environment[name]
  const variable = protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY'
  const value = named(variable)
  if (!value || excluded(named('NO_PROXY') ?? '', hostname, port || (protocol === 'https:' ? '443' : '80'))) return null
  const address = /^\w+:\/\//.test(value) ? value : `http://${value}`
  const proxy = URL.canParse(address) ? new URL(address) : null
  if (proxy && /^https?:$/.test(proxy.protocol)) return proxy
  // A password may stand in it.
  throw new TweedieError('option', `${variable}: expected the address of a proxy, such as http://host:3128.`)
}

/** NO_PROXY: hosts and domains with commas or spaces between, each with or without a port; `*` is all. */
function excluded(list: string, hostname: string, port: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '').toLowerCase()
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .some((entry) => {
      // Of an IPv6 address without brackets the last colon begins no port.
      const bare = !entry.startsWith('[') && entry.split(':').length > 2
      const [, name, ofPort] = bare ? ['', entry] : /^\[?(.*?)\]?(?::(\d+))?$/.exec(entry)!
      const domain = name.replace(/^\*?\./, '')
      return entry === '*' || ((ofPort ?? port) === port && (host === domain || host.endsWith(`.${domain}`)))
    })
}

/** Asks for an address, through a proxy where the environment says so. */
export async function fetchByProxy(url: string | URL, init: RequestInit = {}): Promise<Response> {
  const variables = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy']
  if (!variables.some((name) => process.env[name])) return fetch(url, init)
  const dispatcher = await (agent ??= makeAgent())
  return fetch(url, { ...init, ...(dispatcher && { dispatcher }) })
}

let agent: Promise<object | undefined> | undefined

/** Redirects go through it as well, so what each host is reached by is decided when it is connected to. */
async function makeAgent(): Promise<object | undefined> {
  // Node makes its own agent when something is first fetched.
  await fetch('data:,')
  const slot = (globalThis as Record<symbol, object | undefined>)[Symbol.for('undici.globalDispatcher.1')]
  const Agent = slot?.constructor as AgentClass | undefined
  return Agent && new Agent({ connect })
}

function connect(target: Target, connected: Connected): void {
  let proxy: URL | null
  try {
    proxy = proxyFor(target, process.env)
  } catch (error) {
    return connected(error as Error, null)
  }
  const host = target.hostname.replace(/^\[|\]$/g, '')
  const port = Number(target.port || (target.protocol === 'https:' ? 443 : 80))
  const ready = (socket: Socket): void => {
    if (target.protocol !== 'https:') return connected(null, socket)
    const secure = connectTls({ socket, servername: target.servername ?? host, ALPNProtocols: ['http/1.1'] })
    secure.once('secureConnect', () => connected(null, secure)).once('error', (error) => connected(error, null))
  }
  if (proxy) return tunnel(proxy, `${target.hostname}:${port}`, ready, (error) => connected(error, null))
  const socket = connectTcp({ host, port })
  const failed = (error: Error): void => connected(error, null)
  socket.once('error', failed).once('connect', () => {
    socket.off('error', failed)
    ready(socket)
  })
}

/** Milliseconds that a proxy has to answer. */
const patience = 30_000

function tunnel(proxy: URL, to: string, ready: (socket: Socket) => void, failed: (error: Error) => void): void {
  const { protocol, hostname, port, username, password } = proxy
  const user = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  const name = `the proxy ${protocol}//${proxy.host}`
  const request = (protocol === 'https:' ? httpsRequest : httpRequest)({
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port || (protocol === 'https:' ? 443 : 80),
    method: 'CONNECT',
    path: to,
    headers: {
      host: to,
      ...(username !== '' && { 'proxy-authorization': `Basic ${Buffer.from(user).toString('base64')}` }),
    },
    agent: false,
    timeout: patience,
  })
  request.once('connect', ({ statusCode, statusMessage }, socket) => {
    if (statusCode === 200) return ready(socket)
    socket.destroy()
    failed(new Error(`${name} answered ${statusCode} ${statusMessage} for ${to}`))
  })
  request.once('response', ({ statusCode }) => failed(new Error(`${name} answered ${statusCode} for ${to}`)))
  request.once('timeout', () => request.destroy(new Error(`it did not answer in ${patience / 1000} s`)))
  request.once('error', (error) => failed(new Error(`${name}: ${error.message}`)))
  request.end()
}

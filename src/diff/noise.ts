/** What differs every time and says nothing. */

/**
 * Headers that differ by their nature: the time, and what names one request among all. That there is one, or is none any
 * more, is no noise; nor are other headers, unless they are declared.
 */
const NOISY_HEADERS: readonly string[] = [
  'date',
  'traceparent',
  'tracestate',
  'x-request-id',
  'x-correlation-id',
  'x-amzn-trace-id',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-parentspanid',
  'server-timing',
  'x-runtime',
  'x-response-time',
];

/** Tells noise from differences, by the path of a difference and, where they are known, both values in full. */
export type Noise = (path: string, recorded?: string | null, replayed?: string | null) => boolean;

/**
 * The noise that every comparison leaves out, and what `patterns` name: paths of differences in which `*`
 * stands for anything (`response.body.at`, `calls[*].request.headers.x-nonce`).
 */
export function noiseOf(patterns: readonly string[] = []): Noise {
  const headers = new RegExp(String.raw`\.headers\.(?:${NOISY_HEADERS.join('|')})$`);
  const declared = patterns.map((pattern) => {
    const parts = pattern.split('*').map((part) => part.replaceAll(/[.[\](){}+?^$|\\/]/g, String.raw`\$&`));
    return new RegExp(`^${parts.join('.*')}$`, 'i');
  });
  return (path, recorded, replayed) =>
    (headers.test(path) && recorded !== null && replayed !== null) ||
    declared.some((pattern) => pattern.test(path));
}

/** Bytes as text for people. */

const utf8 = new TextDecoder('utf-8', { fatal: true });
const latin1 = new TextDecoder('latin1');

/** The text, where the bytes are UTF-8 without control characters other than white space. */
export function asText(bytes: Uint8Array): string | undefined {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return undefined;
  }
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  return /[\u0000-\u0008\u000e-\u001f\u007f]/.test(text) ? undefined : text;
}

/** Bytes as ISO 8859-1, in which every byte is one character: for parsing what is mostly ASCII. */
export function asLatin1(bytes: Uint8Array): string {
  return latin1.decode(bytes);
}

/** One line that shows the bytes, with `\xhh` for what is not printable, cut at `limit` characters. */
export function show(bytes: Uint8Array, limit = 80): string {
  const text = asText(bytes.subarray(0, limit * 4)) ?? escape(bytes.subarray(0, limit));
  const line = text
    .replaceAll('\r', String.raw`\r`)
    .replaceAll('\n', String.raw`\n`)
    .replaceAll('\t', String.raw`\t`);
  return clip(line, limit);
}

/** The text, or its beginning with `…`. */
export function clip(text: string, limit: number): string {
  const characters = [...text];
  return characters.length <= limit ? text : `${characters.slice(0, limit - 1).join('')}…`;
}

/** Whether two byte strings are the same. */
export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}

/** All the bytes, one piece after the other. */
export function joinBytes(chunks: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(chunks.reduce((length, chunk) => length + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    joined.set(chunk, offset);
    offset += chunk.length;
  }
  return joined;
}

function escape(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) {
    if (byte === 0x5c) text += '\\\\';
    else if ((byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x0d || byte === 0x09) {
      text += String.fromCharCode(byte);
    } else text += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return text;
}

/**
 * Values that a program has encrypted, such as the sessions that frameworks keep in cookies: the same content is written
 * anew each time, with another nonce. Nobody but the program can read them, so that their form and length is all that can
 * be compared.
 */

/**
 * As ActiveSupport's `MessageEncryptor` and Rack write AES-GCM (content, nonce of 12 bytes, tag of 16), and as Laravel's
 * `Encrypter` writes what it encrypts (an object of JSON that begins with its `iv`); both in base 64.
 */
export const SEALED = String.raw`(?<![\da-zA-Z+/])[\da-zA-Z+/]{16,}={0,2}--[\da-zA-Z+/]{16}--[\da-zA-Z+/]{22}==|\beyJpdiI6[\da-zA-Z+/]{60,}={0,2}`;

/** Whether two such values may have the same content: it is as long, and everything about it is written anew. */
export function mayHoldTheSame(recorded: string, replayed: string): boolean {
  const [left, right] = [parts(recorded), parts(replayed)];
  return (
    left !== undefined &&
    left.length === right?.length &&
    left.every((part, at) => part.length === right[at]?.length && (part === '' || part !== right[at]))
  );
}

/** The content, the nonce and what vouches for them. */
function parts(sealed: string): string[] | undefined {
  if (sealed.includes('--')) return sealed.split('--');
  try {
    const { iv, value, mac, tag = '' } = JSON.parse(atob(sealed)) as Record<string, unknown>;
    const all = [value, iv, mac, tag];
    return all.every((part) => typeof part === 'string') ? all : undefined;
  } catch {
    return undefined;
  }
}

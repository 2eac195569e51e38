/** Redis commands (RESP), taken apart to be compared and shown. */
import { asLatin1, show } from './bytes.ts';

const MAX_ARGUMENTS = 1_048_576;

/** The commands of one request (pipelined: several), each an array of arguments; undefined where it is no RESP. */
export function parseRedisCommands(bytes: Uint8Array): Uint8Array[][] | undefined {
  const commands: Uint8Array[][] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const command = parseRedisCommand(bytes, offset);
    if (command === undefined) return undefined;
    commands.push(command.args);
    offset = command.next;
  }
  return commands.length === 0 ? undefined : commands;
}

/** A command as one types it: `SET item:3 "two words"`. */
export function showRedisCommand(args: readonly Uint8Array[], limit = 80): string {
  return args
    .map((arg) => {
      const text = show(arg, limit);
      return text === '' || /[\s"]/.test(text) ? JSON.stringify(text) : text;
    })
    .join(' ');
}

/** Commands that set a connection up or keep it, and say nothing about the data. */
const CONNECTION_COMMANDS: ReadonlySet<string> = new Set([
  'HELLO',
  'AUTH',
  'CLIENT',
  'READONLY',
  'PING',
  'ECHO',
  'QUIT',
]);

/** Whether commands only concern their connection: a pool sends them whenever it happens to connect. */
export function isRedisConnectionCommand(commands: readonly (readonly Uint8Array[])[]): boolean {
  return commands.every((args) => {
    const [name] = args;
    return name !== undefined && CONNECTION_COMMANDS.has(asLatin1(name).toUpperCase());
  });
}

/** The command that begins at `start`, if it is all there, and where the next one begins. */
export function parseRedisCommand(
  bytes: Uint8Array,
  start: number,
): { args: Uint8Array[]; next: number } | undefined {
  const count = parseLength(bytes, start, 0x2a);
  if (count === undefined || count.value > MAX_ARGUMENTS) return undefined;
  const args: Uint8Array[] = [];
  let offset = count.next;
  for (let index = 0; index < count.value; index += 1) {
    const length = parseLength(bytes, offset, 0x24);
    if (length === undefined) return undefined;
    const end = length.next + length.value;
    if (end + 2 > bytes.length || bytes[end] !== 0x0d || bytes[end + 1] !== 0x0a) return undefined;
    args.push(bytes.subarray(length.next, end));
    offset = end + 2;
  }
  return { args, next: offset };
}

/** A type byte and a decimal length: `*3\r\n`, `$5\r\n`. */
function parseLength(
  bytes: Uint8Array,
  start: number,
  type: number,
): { value: number; next: number } | undefined {
  if (bytes[start] !== type) return undefined;
  let value = 0;
  let at = start + 1;
  for (; at < start + 12; at += 1) {
    const byte = bytes[at];
    if (byte === undefined || byte < 0x30 || byte > 0x39) break;
    value = value * 10 + byte - 0x30;
  }
  if (at === start + 1 || bytes[at] !== 0x0d || bytes[at + 1] !== 0x0a) return undefined;
  return { value, next: at + 2 };
}

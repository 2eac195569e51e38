/**
 * What a user can do something about: a wrong path, a damaged recording, a port in use.
 * The message is one line, says what is wrong and, where it is not obvious, what to do. The CLI prints it
 * without a stack and exits with 2.
 */
export class KoalaError extends Error {
  override name = 'KoalaError';
}

/** The `code` of a Node system error (`ENOENT`), or undefined. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** What an unknown thrown value says, in one line. */
export function errorMessage(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replaceAll(/\s*\n\s*/g, ' ').trim();
}

/** A system error in words that a user understands. */
export function describeSystemError(error: unknown): string {
  switch (errorCode(error)) {
    case 'ENOENT':
      return 'it does not exist';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    case 'ENOTDIR':
      return 'it is not a directory';
    case 'EISDIR':
      return 'it is a directory';
    case 'EROFS':
      return 'the file system is read-only';
    case 'ENOSPC':
      return 'the disk is full';
    default:
      return errorMessage(error);
  }
}

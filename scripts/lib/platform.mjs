// Which platform package this machine builds and uses: linux-x64-gnu, linux-arm64-musl, ...

/** The name of this machine's platform, or undefined where koala has no native parts for it. */
export function platform() {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) return undefined;
  const glibc = process.report.getReport().header.glibcVersionRuntime;
  return `linux-${process.arch}-${glibc ? 'gnu' : 'musl'}`;
}

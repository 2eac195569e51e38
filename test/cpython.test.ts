// CPython's suites that take minutes, in short; `npm run soak` runs all of them.
import { type Suite, testSuites } from './support/cpython.ts';

const words = (text: string): string[] => text.trim().split(/\s+/);

/** Suites that take minutes. */
const long: Suite[] = ['test_asyncio', 'test_ssl', 'test_multiprocessing_fork'].map((name) => ({
  names: [name],
}));

/** What of these concerns sockets and processes most, and takes a quarter of a minute each. */
const short: Suite[] = [
  {
    names: words('streams sock_lowlevel server sendfile unix_events buffered_proto sslproto').map(
      (name) => `test.test_asyncio.test_${name}`,
    ),
  },
  {
    names: ['test_ssl'],
    only: words(`
      SimpleBackgroundTests TestPreHandshakeClose TestSSLDebug MemoryBIOTests ContextTests SSLObjectTests
      BasicSocketTests test_echo test_socketserver test_asyncore_server test_recv_send test_sendfile test_starttls
      test_do_handshake_enotconn test_wrong_cert_* test_session test_handshake_timeout
    `),
  },
  {
    names: ['test_multiprocessing_fork'],
    only: words(`
      *TestConnection *TestListener* *TestPicklingConnections *TestRemoteManager *TestMyManager
      TestSyncManagerTypes WithManagerTestContainers WithProcessesTestQueue TestStartMethod TestIgnoreEINTR
      TestCloseFds TestSimpleQueue TestInvalidFamily TestFlags TestWait
    `),
  },
];

testSuites(process.env['KOALA_SOAK'] === '1' ? long : short);

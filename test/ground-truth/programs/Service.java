import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.Executors;

/**
 * Service PORT NIO_PORT UPSTREAM_PORT REDIS_PORT FILE: the JDK's HTTP server with a pool of threads, which asks an HTTP
 * upstream by HttpURLConnection and by HttpClient, and Redis by a Socket and by a SocketChannel; and on the other port
 * a selector loop that answers each request with the file, from the kernel to the kernel. Ends on SIGTERM.
 */
public final class Service {
  private static String upstream;
  private static int redis;
  private static final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

  private static final ThreadLocal<Socket> socket = ThreadLocal.withInitial(() -> {
    try {
      return new Socket("127.0.0.1", redis);
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  });

  private static final ThreadLocal<SocketChannel> channel = ThreadLocal.withInitial(() -> {
    try {
      return SocketChannel.open(new InetSocketAddress("127.0.0.1", redis));
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  });

  public static void main(String[] arguments) throws Exception {
    upstream = "http://127.0.0.1:" + arguments[2];
    redis = Integer.parseInt(arguments[3]);
    var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 128);
    server.setExecutor(Executors.newFixedThreadPool(16));
    server.createContext("/", Service::serve);
    var loop = new Thread(() -> loop(Integer.parseInt(arguments[1]), Path.of(arguments[4])));
    loop.setDaemon(true);
    loop.start();
    server.start();
  }

  private static void serve(HttpExchange exchange) throws IOException {
    byte[] body = exchange.getRequestBody().readAllBytes();
    String path = exchange.getRequestURI().getPath();
    byte[] answer;
    try {
      answer = switch (path.split("/")[1]) {
        case "url" -> byUrlConnection(path, body);
        case "client" -> byClient(path, body);
        case "socket" -> bySocket(path);
        case "channel" -> byChannel(path);
        default -> body;
      };
    } catch (InterruptedException error) {
      throw new IOException(error);
    }
    exchange.sendResponseHeaders(200, answer.length == 0 ? -1 : answer.length);
    try (OutputStream out = exchange.getResponseBody()) {
      out.write(answer);
    }
  }

  private static byte[] byUrlConnection(String path, byte[] body) throws IOException {
    var connection = (HttpURLConnection) URI.create(upstream + path).toURL().openConnection();
    if (body.length > 0) {
      connection.setDoOutput(true);
      connection.setFixedLengthStreamingMode(body.length);
      try (OutputStream out = connection.getOutputStream()) {
        out.write(body);
      }
    }
    try (InputStream in = connection.getInputStream()) {
      return in.readAllBytes();
    }
  }

  private static byte[] byClient(String path, byte[] body) throws IOException, InterruptedException {
    var request = HttpRequest.newBuilder(URI.create(upstream + path));
    if (body.length > 0) {
      request.POST(HttpRequest.BodyPublishers.ofByteArray(body));
    }
    return client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray()).body();
  }

  private static byte[] command(String path) {
    return ("*3\r\n$6\r\nAPPEND\r\n$" + path.length() + "\r\n" + path + "\r\n$3\r\nabc\r\n")
        .getBytes(StandardCharsets.US_ASCII);
  }

  private static byte[] bySocket(String path) throws IOException {
    Socket to = socket.get();
    to.getOutputStream().write(command(path));
    byte[] answer = new byte[64];
    int length = to.getInputStream().read(answer);
    return java.util.Arrays.copyOf(answer, length);
  }

  private static byte[] byChannel(String path) throws IOException {
    SocketChannel to = channel.get();
    byte[] command = command(path);
    ByteBuffer[] parts = {ByteBuffer.wrap(command, 0, 10), ByteBuffer.allocateDirect(command.length - 10)};
    parts[1].put(command, 10, command.length - 10).flip();
    while (parts[1].hasRemaining()) {
      to.write(parts);
    }
    ByteBuffer answer = ByteBuffer.allocateDirect(64);
    int length = to.read(answer);
    byte[] bytes = new byte[length];
    answer.flip().get(bytes);
    return bytes;
  }

  private static void loop(int port, Path file) {
    try (Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open();
        FileChannel content = FileChannel.open(file)) {
      listener.bind(new InetSocketAddress("127.0.0.1", port), 128).configureBlocking(false);
      listener.register(selector, SelectionKey.OP_ACCEPT);
      while (true) {
        selector.select();
        for (SelectionKey key : selector.selectedKeys()) {
          if (key.isAcceptable()) {
            SocketChannel accepted = listener.accept();
            if (accepted != null) {
              accepted.configureBlocking(false).register(selector, SelectionKey.OP_READ, new StringBuilder());
            }
          } else {
            step(key, content);
          }
        }
        selector.selectedKeys().clear();
      }
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }

  /** Takes what has come of a request; answers it when it is whole, as fast as the kernel takes it. */
  private static void step(SelectionKey key, FileChannel content) throws IOException {
    var from = (SocketChannel) key.channel();
    if (key.attachment() instanceof StringBuilder request) {
      ByteBuffer buffer = ByteBuffer.allocateDirect(1024);
      if (from.read(buffer) < 0) {
        from.close();
        return;
      }
      request.append(StandardCharsets.US_ASCII.decode(buffer.flip()));
      if (request.indexOf("\r\n\r\n") < 0) {
        return;
      }
      String head = "HTTP/1.1 200 OK\r\nContent-Length: " + content.size() + "\r\n\r\n";
      from.write(ByteBuffer.wrap(head.getBytes(StandardCharsets.US_ASCII)));
      key.attach(0L);
      key.interestOps(SelectionKey.OP_WRITE);
      return;
    }
    long done = (Long) key.attachment();
    done += content.transferTo(done, content.size() - done, from);
    if (done < content.size()) {
      key.attach(done);
    } else {
      key.attach(new StringBuilder());
      key.interestOps(SelectionKey.OP_READ);
    }
  }
}

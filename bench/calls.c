// What a captured call costs: a connection of the program with itself, on which it sends and receives, timed in
// batches, with a rest between them in which the agent takes what was recorded: what is measured is the call, not how
// much the agent can take. Prints "SIZE NANOSECONDS" a line: the time of a send and a receive of SIZE bytes together, the lower quartile
// of the batches.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCHES = 200, LARGEST = 65536 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int ascending(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

static char buffer[LARGEST];

static void pass(int from, int to, size_t size) {
  if (send(from, buffer, size, 0) != (ssize_t)size) fail("send");
  for (size_t got = 0; got < size;) {
    ssize_t count = recv(to, buffer + got, size - got, 0);
    if (count <= 0) fail("recv");
    got += count;
  }
}

int main(void) {
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1)) fail("listen");
  if (getsockname(listener, (struct sockaddr *)&address, &length)) fail("getsockname");
  int out = socket(AF_INET, SOCK_STREAM, 0);
  int room = 1 << 20, yes = 1;
  setsockopt(out, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  setsockopt(out, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (connect(out, (struct sockaddr *)&address, sizeof address)) fail("connect");
  int in = accept(listener, NULL, NULL);
  if (in < 0) fail("accept");
  setsockopt(in, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);

  static const size_t sizes[] = {1, 64, 256, 1024, 4096, 16384, LARGEST};
  for (size_t at = 0; at < sizeof sizes / sizeof *sizes; at++) {
    size_t size = sizes[at];
    int rounds = size <= 1024 ? 200 : (int)(262144 / size);
    double times[BATCHES];
    const struct timespec rest = {.tv_nsec = 4000000};
    for (int round = 0; round < rounds; round++) pass(out, in, size);
    for (int batch = 0; batch < BATCHES; batch++) {
      nanosleep(&rest, NULL);
      pass(out, in, size);
      double begun = now();
      for (int round = 0; round < rounds; round++) pass(out, in, size);
      times[batch] = (now() - begun) / rounds;
    }
    qsort(times, BATCHES, sizeof *times, ascending);
    printf("%zu %.1f\n", size, times[BATCHES / 4]);
  }
  return 0;
}

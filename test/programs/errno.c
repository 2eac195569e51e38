/* Calls functions of libc by their names, in ways that succeed and in ways that fail, and prints what each returned and
 * what errno was then: `errno` prints the names that it knows and libc has; `errno NAME...` calls those. errno is ESRCH
 * before each call, which none of them sets. Each way is tried in a process of its own, twice: so that every function is
 * also the first that the process calls. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <resolv.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>
#include <wordexp.h>

#define BEFORE ESRCH
/* Calls the function that the way is about, which has this type. */
#define CALL(type, ...) (errno = BEFORE, ((type)f)(__VA_ARGS__))
#define OK(fd) ((fd) >= 0 ? 0 : -1)
#define WAY(name) static long name(void *f)

typedef long way(void *);

extern char **environ;
static char folder[] = "/tmp/koala-errno-XXXXXX";
static char room[64];
static int client, server;

static void must(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        _exit(99);
    }
}

static char *path(const char *name)
{
    static char text[2][128];
    static int at;
    at = !at;
    snprintf(text[at], sizeof text[at], "%s/%s", folder, name);
    return text[at];
}

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static struct sockaddr_in name_of(int fd)
{
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    must(getsockname(fd, (struct sockaddr *)&name, &length) == 0, "getsockname");
    return name;
}

static int listening(void)
{
    struct sockaddr_in name = loopback(0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(fd, (struct sockaddr *)&name, sizeof name) == 0 && listen(fd, 8) == 0, "listen");
    return fd;
}

/* A TCP connection of the process to itself: `client` and `server`. */
static int connected(void)
{
    int listener = listening();
    struct sockaddr_in name = name_of(listener);
    client = socket(AF_INET, SOCK_STREAM, 0);
    must(connect(client, (struct sockaddr *)&name, sizeof name) == 0, "connect");
    server = accept(listener, NULL, NULL);
    must(server >= 0, "accept");
    close(listener);
    return client;
}

/* The same, with bytes that wait for the client. */
static int told(void)
{
    connected();
    must(send(server, "hello", 5, 0) == 5, "send");
    struct pollfd one = { .fd = client, .events = POLLIN };
    must(poll(&one, 1, 5000) == 1, "poll");
    return client;
}

/* The same, with nothing waiting, and a client that does not wait either. */
static int impatient(void)
{
    connected();
    must(fcntl(client, F_SETFL, O_NONBLOCK) == 0, "fcntl");
    return client;
}

/* The same, reset by its peer. */
static int reset(void)
{
    connected();
    struct linger now = { 1, 0 };
    must(setsockopt(server, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0 && close(server) == 0, "reset");
    struct pollfd one = { .fd = client, .events = 0 };
    must(poll(&one, 1, 5000) == 1, "poll");
    return client;
}

/* A UDP socket that is connected to another. */
static int datagrams(void)
{
    struct sockaddr_in name = loopback(0);
    server = socket(AF_INET, SOCK_DGRAM, 0);
    must(bind(server, (struct sockaddr *)&name, sizeof name) == 0, "bind");
    name = name_of(server);
    client = socket(AF_INET, SOCK_DGRAM, 0);
    must(connect(client, (struct sockaddr *)&name, sizeof name) == 0, "connect");
    return client;
}

static int appending(void)
{
    int fd = open(path("log"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    must(fd >= 0, "open");
    return fd;
}

static int filled(void)
{
    int fd = open(path("file"), O_RDWR | O_CREAT, 0600);
    must(fd >= 0 && write(fd, "contents", 8) == 8 && lseek(fd, 0, SEEK_SET) == 0, "file");
    return fd;
}

static struct iovec vector[2] = { { "ab", 2 }, { "cd", 2 } };
static struct iovec wanted[1] = { { room, sizeof room } };
static struct iovec nowhere[1] = { { (void *)8, 4 } };

/* Sockets. */
typedef int three(int, int, int);
WAY(socket_tcp) { return OK(CALL(three *, AF_INET, SOCK_STREAM, 0)); }
WAY(socket_udp) { return OK(CALL(three *, AF_INET, SOCK_DGRAM, 0)); }
WAY(socket_none) { return OK(CALL(three *, 250, SOCK_STREAM, 0)); }

typedef int pair(int, int, int, int *);
WAY(pair_unix) { int two[2]; return CALL(pair *, AF_UNIX, SOCK_STREAM, 0, two); }
WAY(pair_none) { int two[2]; return CALL(pair *, AF_INET, SOCK_STREAM, 0, two); }
WAY(pair_fault) { return CALL(pair *, AF_UNIX, SOCK_STREAM, 0, (int *)8); }

typedef int two(int, int);
WAY(listen_good)
{
    struct sockaddr_in name = loopback(0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bind(fd, (struct sockaddr *)&name, sizeof name);
    return CALL(two *, fd, 4);
}
WAY(listen_bad) { return CALL(two *, -1, 4); }
WAY(listen_connected) { int fd = connected(); return CALL(two *, fd, 4); }

typedef int named(int, struct sockaddr *, socklen_t *);
typedef int named_flags(int, struct sockaddr *, socklen_t *, int);
static int called(void)
{
    int listener = listening();
    struct sockaddr_in name = name_of(listener);
    client = socket(AF_INET, SOCK_STREAM, 0);
    must(connect(client, (struct sockaddr *)&name, sizeof name) == 0, "connect");
    return listener;
}
WAY(accept_good) { int fd = called(); return OK(CALL(named *, fd, NULL, NULL)); }
WAY(accept_named)
{
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    int fd = called();
    return OK(CALL(named *, fd, (struct sockaddr *)&name, &length));
}
WAY(accept_bad) { return CALL(named *, -1, NULL, NULL); }
WAY(accept_empty) { int fd = listening(); fcntl(fd, F_SETFL, O_NONBLOCK); return CALL(named *, fd, NULL, NULL); }
WAY(accept_connected) { int fd = connected(); return CALL(named *, fd, NULL, NULL); }
WAY(accept4_good) { int fd = called(); return OK(CALL(named_flags *, fd, NULL, NULL, SOCK_CLOEXEC)); }
WAY(accept4_bad) { return CALL(named_flags *, -1, NULL, NULL, 0); }
WAY(accept4_flags) { int fd = called(); return CALL(named_flags *, fd, NULL, NULL, 1 << 30); }

typedef int to_name(int, const struct sockaddr *, socklen_t);
WAY(connect_good)
{
    struct sockaddr_in name = name_of(listening());
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return CALL(to_name *, fd, (struct sockaddr *)&name, sizeof name);
}
WAY(connect_refused)
{
    int listener = listening();
    struct sockaddr_in name = name_of(listener);
    close(listener);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return CALL(to_name *, fd, (struct sockaddr *)&name, sizeof name);
}
WAY(connect_missing)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "/nowhere/at/all" };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return CALL(to_name *, fd, (struct sockaddr *)&name, sizeof name);
}
WAY(connect_later)
{
    struct sockaddr_in name = name_of(listening());
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    return CALL(to_name *, fd, (struct sockaddr *)&name, sizeof name);
}
WAY(connect_twice)
{
    int fd = connected();
    struct sockaddr_in name = name_of(server);
    return CALL(to_name *, fd, (struct sockaddr *)&name, sizeof name);
}
WAY(connect_bad)
{
    struct sockaddr_in name = loopback(1);
    return CALL(to_name *, -1, (struct sockaddr *)&name, sizeof name);
}
WAY(connect_fault) { int fd = socket(AF_INET, SOCK_STREAM, 0); return CALL(to_name *, fd, (void *)8, 16); }
WAY(connect_udp)
{
    struct sockaddr_in name = loopback(9);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return CALL(to_name *, fd, (struct sockaddr *)&name, sizeof name);
}

WAY(bind_good)
{
    struct sockaddr_in name = loopback(0);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return CALL(to_name *, fd, (struct sockaddr *)&name, sizeof name);
}
WAY(bind_used)
{
    struct sockaddr_in name = name_of(listening());
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return CALL(to_name *, fd, (struct sockaddr *)&name, sizeof name);
}
WAY(bind_bad) { struct sockaddr_in name = loopback(0); return CALL(to_name *, -1, (struct sockaddr *)&name, sizeof name); }

typedef int option(int, int, int, void *, socklen_t *);
WAY(option_good)
{
    int value, fd = reset();
    socklen_t length = sizeof value;
    return CALL(option *, fd, SOL_SOCKET, SO_ERROR, &value, &length);
}
WAY(option_bad) { int value; socklen_t length = 4; return CALL(option *, -1, SOL_SOCKET, SO_ERROR, &value, &length); }
WAY(option_none)
{
    int value, fd = connected();
    socklen_t length = sizeof value;
    return CALL(option *, fd, SOL_SOCKET, 30000, &value, &length);
}

static struct sockaddr_in peer_name;
static socklen_t peer_length;
WAY(peer_good) { int fd = connected(); peer_length = sizeof peer_name; return CALL(named *, fd, (struct sockaddr *)&peer_name, &peer_length); }
WAY(peer_bad) { peer_length = sizeof peer_name; return CALL(named *, -1, (struct sockaddr *)&peer_name, &peer_length); }
WAY(peer_none) { int fd = listening(); peer_length = sizeof peer_name; return CALL(named *, fd, (struct sockaddr *)&peer_name, &peer_length); }

WAY(shutdown_good) { int fd = connected(); return CALL(two *, fd, SHUT_WR); }
WAY(shutdown_bad) { return CALL(two *, -1, SHUT_WR); }
WAY(shutdown_none) { int fd = socket(AF_INET, SOCK_STREAM, 0); return CALL(two *, fd, SHUT_WR); }
WAY(shutdown_how) { int fd = connected(); return CALL(two *, fd, 77); }

/* Descriptors. */
typedef int one(int);
WAY(close_socket) { int fd = connected(); return CALL(one *, fd); }
WAY(close_file) { int fd = appending(); return CALL(one *, fd); }
WAY(close_bad) { return CALL(one *, -1); }

typedef int of_stream(FILE *);
static FILE *stream_on(int fd, const char *mode)
{
    FILE *stream = fdopen(fd, mode);
    must(stream != NULL, "fdopen");
    return stream;
}
WAY(fclose_socket) { FILE *stream = stream_on(connected(), "r+"); fputs("text", stream); return CALL(of_stream *, stream); }
WAY(fclose_log) { FILE *stream = fopen(path("log"), "a"); fputs("text", stream); return CALL(of_stream *, stream); }
WAY(fclose_full) { FILE *stream = fopen("/dev/full", "w"); fputs("text", stream); return CALL(of_stream *, stream); }
WAY(fclose_memory) { FILE *stream = fmemopen(room, sizeof room, "r"); return CALL(of_stream *, stream); }

typedef FILE *of_descriptor(int, const char *);
#define MADE(stream) ((stream) ? 0 : -1)
WAY(fdopen_socket) { int fd = connected(); return MADE(CALL(of_descriptor *, fd, "r+")); }
WAY(fdopen_close) { int fd = connected(); return MADE(CALL(of_descriptor *, fd, "re")); }
WAY(fdopen_log) { int fd = appending(); return MADE(CALL(of_descriptor *, fd, "a")); }
WAY(fdopen_file) { int fd = filled(); return MADE(CALL(of_descriptor *, fd, "r")); }
WAY(fdopen_mode) { int fd = connected(); return MADE(CALL(of_descriptor *, fd, "q")); }
WAY(fdopen_bad) { return MADE(CALL(of_descriptor *, 999, "r")); }

typedef int range(unsigned, unsigned, int);
WAY(range_good) { dup2(connected(), 900); return CALL(range *, 900, 910, 0); }
WAY(range_order) { return CALL(range *, 9, 1, 0); }
WAY(range_flags) { return CALL(range *, 900, 910, 1 << 20); }
typedef void from(int);
WAY(from_good) { dup2(connected(), 900); CALL(from *, 900); return 0; }

WAY(dup_good) { int fd = connected(); return OK(CALL(one *, fd)); }
WAY(dup_bad) { return CALL(one *, -1); }
WAY(dup2_good) { int fd = connected(); return CALL(two *, fd, 900); }
WAY(dup2_over) { int fd = connected(); return OK(CALL(two *, fd, server)); }
WAY(dup2_bad) { int fd = connected(); return CALL(two *, -1, fd); }
WAY(dup3_good) { int fd = connected(); return CALL(three *, fd, 900, O_CLOEXEC); }
WAY(dup3_same) { int fd = connected(); return CALL(three *, fd, fd, 0); }
typedef int control(int, int, long);
WAY(control_dup) { int fd = connected(); return OK(CALL(control *, fd, F_DUPFD, 3)); }
WAY(control_flags) { int fd = connected(); return CALL(control *, fd, F_SETFL, O_NONBLOCK); }
WAY(control_bad) { return CALL(control *, -1, F_DUPFD, 0); }
WAY(control_none) { int fd = connected(); return CALL(control *, fd, 30000, 0); }

/* Sending. */
typedef ssize_t sends(int, const void *, size_t, int);
WAY(send_good) { int fd = connected(); return CALL(sends *, fd, "text", 4, 0); }
WAY(send_empty) { int fd = connected(); return CALL(sends *, fd, "", 0, 0); }
WAY(send_datagram) { int fd = datagrams(); return CALL(sends *, fd, "text", 4, 0); }
WAY(send_bad) { return CALL(sends *, -1, "text", 4, 0); }
WAY(send_reset) { int fd = reset(); return CALL(sends *, fd, "text", 4, MSG_NOSIGNAL); }
WAY(send_fault) { int fd = connected(); return CALL(sends *, fd, (void *)8, 4, 0); }
static char lot[4 << 20];
WAY(send_full)
{
    int fd = impatient();
    while (send(fd, lot, sizeof lot, 0) > 0) {}
    return CALL(sends *, fd, lot, sizeof lot, 0);
}
WAY(send_short) { int fd = impatient(); return OK(CALL(sends *, fd, lot, sizeof lot, 0)); }

typedef ssize_t sends_to(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
WAY(sendto_good) { int fd = connected(); return CALL(sends_to *, fd, "text", 4, 0, NULL, 0); }
WAY(sendto_datagram)
{
    datagrams();
    struct sockaddr_in name = name_of(server);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return CALL(sends_to *, fd, "text", 4, 0, (struct sockaddr *)&name, sizeof name);
}
WAY(sendto_nobody) { int fd = socket(AF_INET, SOCK_DGRAM, 0); return CALL(sends_to *, fd, "text", 4, 0, NULL, 0); }
WAY(sendto_bad) { return CALL(sends_to *, -1, "text", 4, 0, NULL, 0); }
WAY(sendto_unconnected)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return CALL(sends_to *, fd, "text", 4, MSG_NOSIGNAL, NULL, 0);
}
WAY(sendto_fast)
{
    struct sockaddr_in name = name_of(listening());
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return CALL(sends_to *, fd, "text", 4, MSG_FASTOPEN, (struct sockaddr *)&name, sizeof name);
}

typedef ssize_t messages(int, const struct msghdr *, int);
static struct msghdr message(struct iovec *parts, int count) { return (struct msghdr){ .msg_iov = parts, .msg_iovlen = count }; }
WAY(sendmsg_good) { struct msghdr m = message(vector, 2); int fd = connected(); return CALL(messages *, fd, &m, 0); }
WAY(sendmsg_reset) { struct msghdr m = message(vector, 2); int fd = reset(); return CALL(messages *, fd, &m, MSG_NOSIGNAL); }
WAY(sendmsg_bad) { struct msghdr m = message(vector, 2); return CALL(messages *, -1, &m, 0); }
WAY(sendmsg_fault) { struct msghdr m = message(nowhere, 1); int fd = connected(); return CALL(messages *, fd, &m, 0); }

typedef int many(int, struct mmsghdr *, unsigned, int);
WAY(sendmmsg_good)
{
    struct mmsghdr m[2] = { { .msg_hdr = message(vector, 2) }, { .msg_hdr = message(vector, 1) } };
    int fd = connected();
    return CALL(many *, fd, m, 2, 0);
}
WAY(sendmmsg_datagram)
{
    struct mmsghdr m[2] = { { .msg_hdr = message(vector, 2) }, { .msg_hdr = message(vector, 1) } };
    int fd = datagrams();
    return CALL(many *, fd, m, 2, 0);
}
WAY(sendmmsg_bad) { struct mmsghdr m[1] = { { .msg_hdr = message(vector, 2) } }; return CALL(many *, -1, m, 1, 0); }
WAY(sendmmsg_reset)
{
    struct mmsghdr m[1] = { { .msg_hdr = message(vector, 2) } };
    int fd = reset();
    return CALL(many *, fd, m, 1, MSG_NOSIGNAL);
}

typedef ssize_t writes(int, const void *, size_t);
WAY(write_socket) { int fd = connected(); return CALL(writes *, fd, "text", 4); }
WAY(write_log) { int fd = appending(); return CALL(writes *, fd, "text", 4); }
WAY(write_file) { int fd = filled(); return CALL(writes *, fd, "text", 4); }
WAY(write_bad) { return CALL(writes *, -1, "text", 4); }
WAY(write_reset) { int fd = reset(); return CALL(writes *, fd, "text", 4); }
WAY(write_fault) { int fd = appending(); return CALL(writes *, fd, (void *)8, 4); }

typedef ssize_t vectors(int, const struct iovec *, int);
WAY(writev_socket) { int fd = connected(); return CALL(vectors *, fd, vector, 2); }
WAY(writev_log) { int fd = appending(); return CALL(vectors *, fd, vector, 2); }
WAY(writev_bad) { return CALL(vectors *, -1, vector, 2); }
WAY(writev_count) { int fd = connected(); return CALL(vectors *, fd, vector, -1); }
WAY(writev_fault) { int fd = connected(); return CALL(vectors *, fd, nowhere, 1); }

typedef ssize_t vectors_at(int, const struct iovec *, int, off_t, int);
WAY(pwritev2_socket) { int fd = connected(); return CALL(vectors_at *, fd, vector, 2, -1, 0); }
WAY(pwritev2_file) { int fd = filled(); return CALL(vectors_at *, fd, vector, 2, 0, 0); }
WAY(pwritev2_offset) { int fd = connected(); return CALL(vectors_at *, fd, vector, 2, 5, 0); }
WAY(pwritev2_bad) { return CALL(vectors_at *, -1, vector, 2, -1, 0); }

typedef ssize_t sends_file(int, int, off_t *, size_t);
WAY(sendfile_good) { int file = filled(), fd = connected(); return CALL(sends_file *, fd, file, NULL, 8); }
WAY(sendfile_offset) { off_t at = 3; int file = filled(), fd = connected(); return CALL(sends_file *, fd, file, &at, 8); }
WAY(sendfile_bad) { int file = filled(); return CALL(sends_file *, -1, file, NULL, 8); }
WAY(sendfile_socket) { int fd = connected(); return CALL(sends_file *, fd, server, NULL, 8); }
WAY(sendfile_reset) { int file = filled(), fd = reset(); return CALL(sends_file *, fd, file, NULL, 8); }

typedef ssize_t splices(int, off_t *, int, off_t *, size_t, unsigned);
WAY(splice_out)
{
    int ends[2], fd = connected();
    must(pipe(ends) == 0 && write(ends[1], "text", 4) == 4, "pipe");
    return CALL(splices *, ends[0], NULL, fd, NULL, 4, 0);
}
WAY(splice_in) { int ends[2], fd = told(); must(pipe(ends) == 0, "pipe"); return CALL(splices *, fd, NULL, ends[1], NULL, 5, 0); }
WAY(splice_none) { int fd = connected(); return CALL(splices *, fd, NULL, server, NULL, 4, 0); }
WAY(splice_bad) { return CALL(splices *, -1, NULL, -1, NULL, 4, 0); }
WAY(splice_empty)
{
    int ends[2], fd = impatient();
    must(pipe(ends) == 0, "pipe");
    return CALL(splices *, fd, NULL, ends[1], NULL, 5, SPLICE_F_NONBLOCK);
}

/* Receiving. */
typedef ssize_t receives(int, void *, size_t, int);
typedef ssize_t receives_chk(int, void *, size_t, size_t, int);
WAY(recv_good) { int fd = told(); return CALL(receives *, fd, room, sizeof room, 0); }
WAY(recv_peek) { int fd = told(); return CALL(receives *, fd, room, sizeof room, MSG_PEEK); }
WAY(recv_dropped) { int fd = told(); return CALL(receives *, fd, room, sizeof room, MSG_TRUNC); }
WAY(recv_end) { int fd = connected(); close(server); return CALL(receives *, fd, room, sizeof room, 0); }
WAY(recv_empty) { int fd = impatient(); return CALL(receives *, fd, room, sizeof room, 0); }
WAY(recv_reset) { int fd = reset(); return CALL(receives *, fd, room, sizeof room, 0); }
WAY(recv_bad) { return CALL(receives *, -1, room, sizeof room, 0); }
WAY(recv_fault) { int fd = told(); return CALL(receives *, fd, (void *)8, 8, 0); }
WAY(recv_chk_good) { int fd = told(); return CALL(receives_chk *, fd, room, sizeof room, sizeof room, 0); }
WAY(recv_chk_bad) { return CALL(receives_chk *, -1, room, sizeof room, sizeof room, 0); }

typedef ssize_t receives_from(int, void *, size_t, int, struct sockaddr *, socklen_t *);
typedef ssize_t receives_from_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);
WAY(recvfrom_good) { int fd = told(); return CALL(receives_from *, fd, room, sizeof room, 0, NULL, NULL); }
WAY(recvfrom_datagram)
{
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    int fd = datagrams();
    must(send(fd, "text", 4, 0) == 4, "send");
    return CALL(receives_from *, server, room, sizeof room, 0, (struct sockaddr *)&name, &length);
}
WAY(recvfrom_empty) { int fd = datagrams(); return CALL(receives_from *, fd, room, sizeof room, MSG_DONTWAIT, NULL, NULL); }
WAY(recvfrom_bad) { return CALL(receives_from *, -1, room, sizeof room, 0, NULL, NULL); }
WAY(recvfrom_chk_good) { int fd = told(); return CALL(receives_from_chk *, fd, room, sizeof room, sizeof room, 0, NULL, NULL); }
WAY(recvfrom_chk_bad) { return CALL(receives_from_chk *, -1, room, sizeof room, sizeof room, 0, NULL, NULL); }

WAY(recvmsg_good) { struct msghdr m = message(wanted, 1); int fd = told(); return CALL(messages *, fd, &m, 0); }
WAY(recvmsg_empty) { struct msghdr m = message(wanted, 1); int fd = impatient(); return CALL(messages *, fd, &m, 0); }
WAY(recvmsg_bad) { struct msghdr m = message(wanted, 1); return CALL(messages *, -1, &m, 0); }

typedef int receives_many(int, struct mmsghdr *, unsigned, int, struct timespec *);
WAY(recvmmsg_good)
{
    struct mmsghdr m[1] = { { .msg_hdr = message(wanted, 1) } };
    int fd = told();
    return CALL(receives_many *, fd, m, 1, 0, NULL);
}
WAY(recvmmsg_empty)
{
    struct mmsghdr m[1] = { { .msg_hdr = message(wanted, 1) } };
    int fd = impatient();
    return CALL(receives_many *, fd, m, 1, 0, NULL);
}
WAY(recvmmsg_bad) { struct mmsghdr m[1] = { { .msg_hdr = message(wanted, 1) } }; return CALL(receives_many *, -1, m, 1, 0, NULL); }

typedef ssize_t reads(int, void *, size_t);
typedef ssize_t reads_chk(int, void *, size_t, size_t);
WAY(read_socket) { int fd = told(); return CALL(reads *, fd, room, sizeof room); }
WAY(read_file) { int fd = filled(); return CALL(reads *, fd, room, sizeof room); }
WAY(read_empty) { int fd = impatient(); return CALL(reads *, fd, room, sizeof room); }
WAY(read_reset) { int fd = reset(); return CALL(reads *, fd, room, sizeof room); }
WAY(read_bad) { return CALL(reads *, -1, room, sizeof room); }
WAY(read_chk_good) { int fd = told(); return CALL(reads_chk *, fd, room, sizeof room, sizeof room); }
WAY(read_chk_bad) { return CALL(reads_chk *, -1, room, sizeof room, sizeof room); }
WAY(readv_good) { int fd = told(); return CALL(vectors *, fd, wanted, 1); }
WAY(readv_empty) { int fd = impatient(); return CALL(vectors *, fd, wanted, 1); }
WAY(readv_bad) { return CALL(vectors *, -1, wanted, 1); }
WAY(preadv2_socket) { int fd = told(); return CALL(vectors_at *, fd, wanted, 1, -1, 0); }
WAY(preadv2_offset) { int fd = told(); return CALL(vectors_at *, fd, wanted, 1, 5, 0); }
WAY(preadv2_bad) { return CALL(vectors_at *, -1, wanted, 1, -1, 0); }

/* Waiting. */
typedef int polls(struct pollfd *, nfds_t, int);
typedef int polls_chk(struct pollfd *, nfds_t, int, size_t);
typedef int ppolls(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
typedef int ppolls_chk(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t);
static const struct timespec none, wrong = { 0, -1 };
WAY(poll_good) { struct pollfd p = { told(), POLLIN, 0 }; return CALL(polls *, &p, 1, 0); }
WAY(poll_bad) { return CALL(polls *, (void *)8, 1, 0); }
WAY(poll_chk_good) { struct pollfd p = { told(), POLLIN, 0 }; return CALL(polls_chk *, &p, 1, 0, sizeof p); }
WAY(poll_chk_bad) { return CALL(polls_chk *, (void *)8, 1, 0, 8); }
WAY(ppoll_good) { struct pollfd p = { told(), POLLIN, 0 }; return CALL(ppolls *, &p, 1, &none, NULL); }
WAY(ppoll_bad) { struct pollfd p = { 0, POLLIN, 0 }; return CALL(ppolls *, &p, 1, &wrong, NULL); }
WAY(ppoll_chk_good) { struct pollfd p = { told(), POLLIN, 0 }; return CALL(ppolls_chk *, &p, 1, &none, NULL, sizeof p); }
WAY(ppoll_chk_bad) { struct pollfd p = { 0, POLLIN, 0 }; return CALL(ppolls_chk *, &p, 1, &wrong, NULL, sizeof p); }
typedef int selects(int, fd_set *, fd_set *, fd_set *, struct timeval *);
typedef int pselects(int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *);
static fd_set readable;
static int readable_end(void) { int fd = told(); FD_ZERO(&readable); FD_SET(fd, &readable); return fd + 1; }
WAY(select_good) { struct timeval zero = { 0, 0 }; int end = readable_end(); return CALL(selects *, end, &readable, NULL, NULL, &zero); }
WAY(select_bad) { struct timeval zero = { 0, 0 }; return CALL(selects *, -1, NULL, NULL, NULL, &zero); }
WAY(pselect_good) { int end = readable_end(); return CALL(pselects *, end, &readable, NULL, NULL, &none, NULL); }
WAY(pselect_bad) { return CALL(pselects *, -1, NULL, NULL, NULL, &none, NULL); }
typedef int epolls(int, struct epoll_event *, int, int);
typedef int epolls_mask(int, struct epoll_event *, int, int, const sigset_t *);
typedef int epolls_time(int, struct epoll_event *, int, const struct timespec *, const sigset_t *);
static struct epoll_event event;
static int watching(void)
{
    int fd = epoll_create1(0);
    event.events = EPOLLIN;
    must(epoll_ctl(fd, EPOLL_CTL_ADD, told(), &event) == 0, "epoll_ctl");
    return fd;
}
WAY(epoll_good) { int fd = watching(); return CALL(epolls *, fd, &event, 1, 0); }
WAY(epoll_bad) { return CALL(epolls *, -1, &event, 1, 0); }
WAY(epoll_mask_good) { int fd = watching(); return CALL(epolls_mask *, fd, &event, 1, 0, NULL); }
WAY(epoll_mask_bad) { return CALL(epolls_mask *, -1, &event, 1, 0, NULL); }
WAY(epoll_time_good) { int fd = watching(); return CALL(epolls_time *, fd, &event, 1, &none, NULL); }
WAY(epoll_time_bad) { return CALL(epolls_time *, -1, &event, 1, &none, NULL); }

/* Processes. */
typedef pid_t forks(void);
static int status_of(pid_t pid)
{
    int status = -1;
    must(waitpid(pid, &status, 0) == pid, "waitpid");
    return status;
}
WAY(fork_good)
{
    pid_t pid = CALL(forks *);
    int error = errno;
    if (pid == 0)
        _exit(errno == BEFORE ? 7 : 8);
    int status = status_of(pid);
    errno = error;
    return status;
}
/* Nobody may have another process. */
static void alone(void)
{
    struct rlimit limit = { 0, 0 };
    must(setrlimit(RLIMIT_NPROC, &limit) == 0, "setrlimit");
    if (geteuid() == 0)
        must(syscall(SYS_setresuid, 65534, 65534, 65534) == 0, "setresuid");
}
WAY(fork_none)
{
    alone();
    pid_t pid = CALL(forks *);
    if (pid == 0)
        _exit(0);
    return OK(pid);
}
WAY(vfork_good)
{
    (void)f;
    errno = BEFORE;
    pid_t pid = vfork();
    if (pid == 0)
        _exit(7);
    int error = errno, status = status_of(pid);
    errno = error;
    return status;
}
WAY(vfork_none)
{
    (void)f;
    alone();
    errno = BEFORE;
    pid_t pid = vfork();
    if (pid == 0)
        _exit(0);
    return OK(pid);
}

static char *const words[] = { "true", NULL };
static char *const nothing[] = { "A=B", NULL };
static char missing[] = "/nowhere/at/all";
typedef int executes(const char *, char *const *);
typedef int executes_with(const char *, char *const *, char *const *);
typedef int executes_list(const char *, const char *, ...);
/* A way that becomes another program does so in a child, and its exit code is the result. */
#define IN_CHILD(call)                          \
    pid_t pid = fork();                         \
    if (pid == 0) {                             \
        call;                                   \
        _exit(99);                              \
    }                                           \
    int status = status_of(pid);                \
    errno = BEFORE;                             \
    return status
WAY(execv_good) { IN_CHILD(CALL(executes *, "/bin/true", words)); }
WAY(execv_none) { return CALL(executes *, missing, words); }
WAY(execv_folder) { return CALL(executes *, "/", words); }
WAY(execvp_good) { IN_CHILD(CALL(executes *, "true", words)); }
WAY(execvp_none) { return CALL(executes *, "no-such-program", words); }
WAY(execve_good) { IN_CHILD(CALL(executes_with *, "/bin/true", words, nothing)); }
WAY(execve_none) { return CALL(executes_with *, missing, words, nothing); }
WAY(execve_fault) { return CALL(executes_with *, (char *)8, words, environ); }
WAY(execvpe_good) { IN_CHILD(CALL(executes_with *, "true", words, nothing)); }
WAY(execvpe_none) { return CALL(executes_with *, "no-such-program", words, nothing); }
WAY(execl_good) { IN_CHILD(CALL(executes_list *, "/bin/true", "true", NULL)); }
WAY(execl_none) { return CALL(executes_list *, missing, "true", NULL); }
WAY(execlp_none) { return CALL(executes_list *, "no-such-program", "true", NULL); }
WAY(execle_none) { return CALL(executes_list *, missing, "true", NULL, nothing); }
typedef int executes_file(int, char *const *, char *const *);
typedef int executes_at(int, const char *, char *const *, char *const *, int);
static int program(void) { int fd = open("/bin/true", O_RDONLY | O_CLOEXEC); must(fd >= 0, "open"); return fd; }
WAY(fexecve_good) { int fd = program(); IN_CHILD(CALL(executes_file *, fd, words, nothing)); }
WAY(fexecve_bad) { return CALL(executes_file *, -1, words, nothing); }
WAY(execveat_good) { int fd = program(); IN_CHILD(CALL(executes_at *, fd, "", words, nothing, AT_EMPTY_PATH)); }
WAY(execveat_none) { return CALL(executes_at *, AT_FDCWD, missing, words, nothing, 0); }

typedef void ends(int);
WAY(exit_good) { IN_CHILD(CALL(ends *, 5)); }

typedef int spawns(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const *, char *const *);
WAY(spawn_good)
{
    pid_t pid = -1;
    int error = CALL(spawns *, &pid, "/bin/true", NULL, NULL, words, environ), before = errno;
    int status = error ? error : status_of(pid);
    errno = before;
    return status;
}
WAY(spawn_none) { pid_t pid; return CALL(spawns *, &pid, missing, NULL, NULL, words, environ); }
WAY(spawnp_good)
{
    pid_t pid = -1;
    int error = CALL(spawns *, &pid, "true", NULL, NULL, words, nothing), before = errno;
    int status = error ? error : status_of(pid);
    errno = before;
    return status;
}
WAY(spawnp_none) { pid_t pid; return CALL(spawns *, &pid, "no-such-program", NULL, NULL, words, environ); }

typedef int opens_there(posix_spawn_file_actions_t *, int, const char *, int, mode_t);
static posix_spawn_file_actions_t actions;
WAY(addopen_log) { posix_spawn_file_actions_init(&actions); return CALL(opens_there *, &actions, 1, path("log"), O_WRONLY | O_APPEND, 0); }
WAY(addopen_file) { posix_spawn_file_actions_init(&actions); return CALL(opens_there *, &actions, 0, "/dev/null", O_RDONLY, 0); }
WAY(addopen_bad) { posix_spawn_file_actions_init(&actions); return CALL(opens_there *, &actions, -1, path("log"), O_WRONLY | O_APPEND, 0); }

typedef int commands(const char *);
WAY(system_good) { return CALL(commands *, "exit 3"); }
WAY(system_ask) { return CALL(commands *, NULL); }
WAY(system_none) { alone(); return CALL(commands *, "exit 3"); }
typedef FILE *pipes(const char *, const char *);
WAY(popen_good) { return MADE(CALL(pipes *, "exit 3", "r")); }
WAY(popen_mode) { return MADE(CALL(pipes *, "exit 3", "q")); }
typedef int expands(const char *, wordexp_t *, int);
WAY(wordexp_good) { wordexp_t all; return CALL(expands *, "$(echo one) two", &all, 0); }
WAY(wordexp_bad) { wordexp_t all; return CALL(expands *, "(", &all, 0); }
WAY(wordexp_refused) { wordexp_t all; return CALL(expands *, "$(echo one)", &all, WRDE_NOCMD); }

static void humble(void)
{
    if (geteuid() == 0)
        must(syscall(SYS_setresuid, 65534, 65534, 65534) == 0, "setresuid");
}
typedef int becomes(uid_t);
typedef int becomes_two(uid_t, uid_t);
typedef int becomes_three(uid_t, uid_t, uid_t);
WAY(becomes_good) { uid_t own = getuid(); return CALL(becomes *, own); }
WAY(becomes_bad) { humble(); return CALL(becomes *, 0); }
WAY(becomes_two_good) { uid_t own = getuid(); return CALL(becomes_two *, own, own); }
WAY(becomes_two_bad) { humble(); return CALL(becomes_two *, 0, 0); }
WAY(becomes_three_good) { uid_t own = getuid(); return CALL(becomes_three *, own, own, own); }
WAY(becomes_three_bad) { humble(); return CALL(becomes_three *, 0, 0, 0); }
WAY(chroot_good) { return CALL(commands *, "/"); }
WAY(chroot_none) { return CALL(commands *, missing); }

typedef long numbers(long, ...);
WAY(syscall_send) { int fd = connected(); return CALL(numbers *, SYS_sendto, fd, "text", 4, 0, NULL, 0); }
WAY(syscall_receive) { int fd = told(); return CALL(numbers *, SYS_read, fd, room, sizeof room); }
WAY(syscall_reset) { int fd = reset(); return CALL(numbers *, SYS_sendto, fd, "text", 4, MSG_NOSIGNAL, NULL, 0); }
WAY(syscall_close) { int fd = connected(); return CALL(numbers *, SYS_close, fd); }
WAY(syscall_bad) { return CALL(numbers *, SYS_read, -1, room, sizeof room); }
WAY(syscall_log) { return OK(CALL(numbers *, SYS_openat, AT_FDCWD, path("log"), O_WRONLY | O_APPEND | O_CREAT, 0600)); }
WAY(syscall_exec) { return CALL(numbers *, SYS_execve, missing, words, nothing); }
WAY(syscall_other) { return CALL(numbers *, SYS_getpid) > 0 ? 0 : -1; }

/* Libraries. */
typedef void *loads(const char *, int);
typedef void *loads_into(long, const char *, int);
WAY(dlopen_own) { return MADE(CALL(loads *, NULL, RTLD_NOW)); }
WAY(dlopen_none) { return MADE(CALL(loads *, "/nowhere/at/all.so", RTLD_NOW)); }
WAY(dlmopen_own) { return MADE(CALL(loads_into *, 0, NULL, RTLD_NOW)); }
WAY(dlmopen_none) { return MADE(CALL(loads_into *, 0, "/nowhere/at/all.so", RTLD_NOW)); }

/* Files. */
typedef int opens(const char *, int, ...);
typedef int opens_2(const char *, int);
typedef int opens_at(int, const char *, int, ...);
typedef int opens_at_2(int, const char *, int);
#define APPEND (O_WRONLY | O_APPEND)
WAY(open_log) { return OK(CALL(opens *, path("log"), APPEND | O_CREAT, 0600)); }
WAY(open_file) { filled(); return OK(CALL(opens *, path("file"), O_RDONLY)); }
WAY(open_none) { return CALL(opens *, missing, O_RDONLY); }
WAY(open_log_none) { return CALL(opens *, missing, APPEND | O_CREAT, 0600); }
WAY(open_log_folder) { return CALL(opens *, "/", APPEND); }
WAY(open_log_fault) { return CALL(opens *, (char *)8, APPEND); }
WAY(open_2_log) { appending(); return OK(CALL(opens_2 *, path("log"), APPEND)); }
WAY(open_2_none) { return CALL(opens_2 *, missing, APPEND); }
WAY(openat_log) { int at = open(folder, O_RDONLY); return OK(CALL(opens_at *, at, "log", APPEND | O_CREAT, 0600)); }
WAY(openat_bad) { return CALL(opens_at *, -1, "log", APPEND | O_CREAT, 0600); }
WAY(openat_none) { return CALL(opens_at *, AT_FDCWD, missing, APPEND); }
WAY(openat_2_log) { appending(); return OK(CALL(opens_at_2 *, AT_FDCWD, path("log"), APPEND)); }
WAY(openat_2_none) { return CALL(opens_at_2 *, AT_FDCWD, missing, APPEND); }

typedef ssize_t writes_at(int, const void *, size_t, off_t);
typedef ssize_t vectors_from(int, const struct iovec *, int, off_t);
WAY(pwrite_log) { int fd = appending(); return CALL(writes_at *, fd, "text", 4, 0); }
WAY(pwrite_file) { int fd = filled(); return CALL(writes_at *, fd, "text", 4, 0); }
WAY(pwrite_socket) { int fd = connected(); return CALL(writes_at *, fd, "text", 4, 0); }
WAY(pwrite_bad) { return CALL(writes_at *, -1, "text", 4, 0); }
WAY(pwritev_log) { int fd = appending(); return CALL(vectors_from *, fd, vector, 2, 0); }
WAY(pwritev_socket) { int fd = connected(); return CALL(vectors_from *, fd, vector, 2, 0); }
WAY(pwritev_bad) { return CALL(vectors_from *, -1, vector, 2, 0); }

typedef FILE *streams(const char *, const char *);
typedef FILE *streams_again(const char *, const char *, FILE *);
WAY(fopen_log) { return MADE(CALL(streams *, path("log"), "a")); }
WAY(fopen_both) { return MADE(CALL(streams *, path("log"), "a+")); }
WAY(fopen_file) { filled(); return MADE(CALL(streams *, path("file"), "r")); }
WAY(fopen_none) { return MADE(CALL(streams *, missing, "r")); }
WAY(fopen_log_none) { return MADE(CALL(streams *, missing, "a")); }
WAY(fopen_log_folder) { return MADE(CALL(streams *, "/", "a")); }
WAY(fopen_mode) { return MADE(CALL(streams *, path("log"), "q")); }
WAY(freopen_log) { FILE *old = fopen("/dev/null", "r"); return MADE(CALL(streams_again *, path("log"), "a", old)); }
WAY(freopen_none) { FILE *old = fopen("/dev/null", "r"); return MADE(CALL(streams_again *, missing, "a", old)); }
WAY(fileno_socket) { FILE *stream = stream_on(connected(), "r+"); return OK(CALL(of_stream *, stream)); }
WAY(fileno_log) { FILE *stream = fopen(path("log"), "a"); return OK(CALL(of_stream *, stream)); }
WAY(fileno_file) { FILE *stream = fopen("/dev/null", "r"); return OK(CALL(of_stream *, stream)); }
WAY(fileno_memory) { FILE *stream = fmemopen(room, sizeof room, "r"); return CALL(of_stream *, stream); }

/* dprintf(3) and its kin. */
typedef int prints(int, const char *, ...);
typedef int prints_chk(int, int, const char *, ...);
typedef int prints_list(int, const char *, va_list);
typedef int prints_list_chk(int, int, const char *, va_list);
WAY(dprintf_socket) { int fd = connected(); return CALL(prints *, fd, "%s", "text"); }
WAY(dprintf_file) { int fd = filled(); return CALL(prints *, fd, "%s", "text"); }
WAY(dprintf_bad) { return CALL(prints *, -1, "%s", "text"); }
WAY(dprintf_reset) { int fd = reset(); return CALL(prints *, fd, "%s", "text"); }
WAY(dprintf_chk_socket) { int fd = connected(); return CALL(prints_chk *, fd, 1, "%s", "text"); }
WAY(dprintf_chk_bad) { return CALL(prints_chk *, -1, 1, "%s", "text"); }
static long with_list(void *f, int checked, int fd, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    long result = checked ? CALL(prints_list_chk *, fd, 1, format, list) : CALL(prints_list *, fd, format, list);
    int error = errno;
    va_end(list);
    errno = error;
    return result;
}
WAY(vdprintf_socket) { return with_list(f, 0, connected(), "%s", "text"); }
WAY(vdprintf_bad) { return with_list(f, 0, -1, "%s", "text"); }
WAY(vdprintf_chk_socket) { return with_list(f, 1, connected(), "%s", "text"); }
WAY(vdprintf_chk_bad) { return with_list(f, 1, -1, "%s", "text"); }

/* The system's log. */
typedef void opens_log(const char *, int, int);
typedef void logs(int, const char *, ...);
typedef void logs_chk(int, int, const char *, ...);
typedef void logs_list(int, const char *, va_list);
typedef void logs_list_chk(int, int, const char *, va_list);
WAY(openlog_late) { CALL(opens_log *, "errno", 0, LOG_LOCAL0); return 0; }
WAY(openlog_now) { CALL(opens_log *, "errno", LOG_NDELAY | LOG_PID, LOG_USER); return 0; }
WAY(syslog_good) { CALL(logs *, LOG_DEBUG, "%s: %m", "test of koala"); return 0; }
WAY(syslog_masked) { setlogmask(LOG_MASK(LOG_ERR)); CALL(logs *, LOG_DEBUG, "%s", "test of koala"); return 0; }
WAY(syslog_chk_good) { CALL(logs_chk *, LOG_DEBUG, 1, "%s", "test of koala"); return 0; }
static long log_with_list(void *f, int checked, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    if (checked)
        CALL(logs_list_chk *, LOG_DEBUG, 1, format, list);
    else
        CALL(logs_list *, LOG_DEBUG, format, list);
    int error = errno;
    va_end(list);
    errno = error;
    return 0;
}
WAY(vsyslog_good) { return log_with_list(f, 0, "%s", "test of koala"); }
WAY(vsyslog_chk_good) { return log_with_list(f, 1, "%s", "test of koala"); }

/* Names. */
typedef int looks_up(const char *, const char *, const struct addrinfo *, struct addrinfo **);
static const struct addrinfo numeric = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
WAY(getaddrinfo_good) { struct addrinfo *all; return CALL(looks_up *, "127.0.0.1", "80", &numeric, &all); }
WAY(getaddrinfo_local) { struct addrinfo *all; return CALL(looks_up *, "localhost", NULL, NULL, &all); }
WAY(getaddrinfo_none) { struct addrinfo *all; return CALL(looks_up *, "no name", "80", &numeric, &all); }
WAY(getaddrinfo_flags)
{
    struct addrinfo *all, asked = { .ai_flags = 1 << 30 };
    return CALL(looks_up *, "127.0.0.1", NULL, &asked, &all);
}
typedef void frees(struct addrinfo *);
WAY(freeaddrinfo_good)
{
    struct addrinfo *all = NULL;
    must(getaddrinfo("127.0.0.1", "80", &numeric, &all) == 0, "getaddrinfo");
    CALL(frees *, all);
    return 0;
}
#ifdef __GLIBC__
typedef int looks_several_up(int, struct gaicb **, int, struct sigevent *);
static struct gaicb request = { .ar_name = "127.0.0.1", .ar_request = &numeric };
WAY(several_good) { struct gaicb *list[] = { &request }; return CALL(looks_several_up *, GAI_WAIT, list, 1, NULL); }
WAY(several_mode) { struct gaicb *list[] = { &request }; return CALL(looks_several_up *, 77, list, 1, NULL); }
#endif
typedef int names(const struct sockaddr *, socklen_t, char *, socklen_t, char *, socklen_t, int);
WAY(getnameinfo_good)
{
    struct sockaddr_in name = loopback(80);
    return CALL(names *, (struct sockaddr *)&name, sizeof name, room, sizeof room, NULL, 0, NI_NUMERICHOST);
}
WAY(getnameinfo_small)
{
    struct sockaddr_in name = loopback(80);
    return CALL(names *, (struct sockaddr *)&name, sizeof name, room, 2, NULL, 0, NI_NUMERICHOST);
}
WAY(getnameinfo_family)
{
    struct sockaddr_in name = { .sin_family = 77 };
    return CALL(names *, (struct sockaddr *)&name, sizeof name, room, sizeof room, NULL, 0, NI_NUMERICHOST);
}
typedef struct hostent *hosts(const char *);
typedef struct hostent *hosts_of(const char *, int);
typedef struct hostent *hosts_at(const void *, socklen_t, int);
WAY(host_good) { return MADE(CALL(hosts *, "127.0.0.1")); }
WAY(host_local) { return MADE(CALL(hosts *, "localhost")); }
WAY(host2_good) { return MADE(CALL(hosts_of *, "127.0.0.1", AF_INET)); }
WAY(host2_family) { return MADE(CALL(hosts_of *, "127.0.0.1", 77)); }
static struct in_addr local;
WAY(hostaddr_good) { local.s_addr = htonl(INADDR_LOOPBACK); return MADE(CALL(hosts_at *, &local, sizeof local, AF_INET)); }
WAY(hostaddr_family) { return MADE(CALL(hosts_at *, &local, sizeof local, 77)); }
typedef int hosts_into(const char *, struct hostent *, char *, size_t, struct hostent **, int *);
typedef int hosts_of_into(const char *, int, struct hostent *, char *, size_t, struct hostent **, int *);
typedef int hosts_at_into(const void *, socklen_t, int, struct hostent *, char *, size_t, struct hostent **, int *);
static struct hostent entry, *found;
static char space[4096];
static int why;
WAY(host_r_good) { return CALL(hosts_into *, "127.0.0.1", &entry, space, sizeof space, &found, &why); }
WAY(host_r_small) { return CALL(hosts_into *, "127.0.0.1", &entry, space, 1, &found, &why); }
WAY(host2_r_good) { return CALL(hosts_of_into *, "127.0.0.1", AF_INET, &entry, space, sizeof space, &found, &why); }
WAY(host2_r_small) { return CALL(hosts_of_into *, "127.0.0.1", AF_INET, &entry, space, 1, &found, &why); }
WAY(hostaddr_r_good) { local.s_addr = htonl(INADDR_LOOPBACK); return CALL(hosts_at_into *, &local, sizeof local, AF_INET, &entry, space, sizeof space, &found, &why); }
WAY(hostaddr_r_small) { local.s_addr = htonl(INADDR_LOOPBACK); return CALL(hosts_at_into *, &local, sizeof local, AF_INET, &entry, space, 1, &found, &why); }
/* A name that no question can be made of: nobody is asked. */
#define NO_NAME "two..dots"
typedef int queries(const char *, int, int, unsigned char *, int);
typedef int queries_by(void *, const char *, int, int, unsigned char *, int);
typedef int questions(const unsigned char *, int, unsigned char *, int);
typedef int questions_by(void *, const unsigned char *, int, unsigned char *, int);
static unsigned char answer[512];
WAY(query_none) { return CALL(queries *, NO_NAME, 1, 1, answer, sizeof answer); }
#ifdef __GLIBC__
WAY(question_small) { return CALL(questions *, answer, 0, answer, 4); }
static struct __res_state state;
WAY(query_by_none) { res_ninit(&state); return CALL(queries_by *, &state, NO_NAME, 1, 1, answer, sizeof answer); }
WAY(question_by_small) { res_ninit(&state); return CALL(questions_by *, &state, answer, 0, answer, 4); }
#endif

static const struct {
    const char *name;
    way *ways[9];
} functions[] = {
    { "socket", { socket_tcp, socket_udp, socket_none } },
    { "__socket", { socket_tcp, socket_none } },
    { "socketpair", { pair_unix, pair_none, pair_fault } },
    { "listen", { listen_good, listen_bad, listen_connected } },
    { "accept", { accept_good, accept_named, accept_bad, accept_empty, accept_connected } },
    { "accept4", { accept4_good, accept4_bad, accept4_flags } },
    { "connect", { connect_good, connect_refused, connect_missing, connect_later, connect_twice, connect_bad, connect_fault, connect_udp } },
    { "__connect", { connect_good, connect_refused } },
    { "bind", { bind_good, bind_used, bind_bad } },
    { "getsockopt", { option_good, option_bad, option_none } },
    { "getpeername", { peer_good, peer_bad, peer_none } },
    { "shutdown", { shutdown_good, shutdown_bad, shutdown_none, shutdown_how } },
    { "close", { close_socket, close_file, close_bad } },
    { "__close", { close_socket, close_bad } },
    { "__close_nocancel", { close_socket, close_bad } },
    { "fclose", { fclose_socket, fclose_log, fclose_full, fclose_memory } },
    { "fdopen", { fdopen_socket, fdopen_close, fdopen_log, fdopen_file, fdopen_mode, fdopen_bad } },
    { "_IO_fdopen", { fdopen_socket, fdopen_mode } },
    { "close_range", { range_good, range_order, range_flags } },
    { "closefrom", { from_good } },
    { "dup", { dup_good, dup_bad } },
    { "dup2", { dup2_good, dup2_over, dup2_bad } },
    { "__dup2", { dup2_good, dup2_bad } },
    { "dup3", { dup3_good, dup3_same } },
    { "fcntl", { control_dup, control_flags, control_bad, control_none } },
    { "fcntl64", { control_dup, control_flags, control_bad, control_none } },
    { "__fcntl", { control_dup, control_bad } },
    { "__libc_fcntl64", { control_dup, control_bad } },
    { "send", { send_good, send_empty, send_datagram, send_bad, send_reset, send_fault, send_full, send_short } },
    { "__send", { send_good, send_bad, send_reset } },
    { "sendto", { sendto_good, sendto_datagram, sendto_nobody, sendto_bad, sendto_unconnected, sendto_fast } },
    { "sendmsg", { sendmsg_good, sendmsg_reset, sendmsg_bad, sendmsg_fault } },
    { "sendmmsg", { sendmmsg_good, sendmmsg_datagram, sendmmsg_bad, sendmmsg_reset } },
    { "__sendmmsg", { sendmmsg_good, sendmmsg_bad } },
    { "write", { write_socket, write_log, write_file, write_bad, write_reset, write_fault } },
    { "__write", { write_socket, write_bad } },
    { "__write_nocancel", { write_socket, write_bad } },
    { "writev", { writev_socket, writev_log, writev_bad, writev_count, writev_fault } },
    { "pwritev2", { pwritev2_socket, pwritev2_file, pwritev2_offset, pwritev2_bad } },
    { "pwritev64v2", { pwritev2_socket, pwritev2_file, pwritev2_offset, pwritev2_bad } },
    { "sendfile", { sendfile_good, sendfile_offset, sendfile_bad, sendfile_socket, sendfile_reset } },
    { "sendfile64", { sendfile_good, sendfile_bad } },
    { "splice", { splice_out, splice_in, splice_none, splice_bad, splice_empty } },
    { "recv", { recv_good, recv_peek, recv_dropped, recv_end, recv_empty, recv_reset, recv_bad, recv_fault } },
    { "__recv", { recv_good, recv_empty, recv_bad } },
    { "__recv_chk", { recv_chk_good, recv_chk_bad } },
    { "recvfrom", { recvfrom_good, recvfrom_datagram, recvfrom_empty, recvfrom_bad } },
    { "__recvfrom_chk", { recvfrom_chk_good, recvfrom_chk_bad } },
    { "recvmsg", { recvmsg_good, recvmsg_empty, recvmsg_bad } },
    { "recvmmsg", { recvmmsg_good, recvmmsg_empty, recvmmsg_bad } },
    { "read", { read_socket, read_file, read_empty, read_reset, read_bad } },
    { "__read", { read_socket, read_bad } },
    { "__read_nocancel", { read_socket, read_bad } },
    { "__read_chk", { read_chk_good, read_chk_bad } },
    { "readv", { readv_good, readv_empty, readv_bad } },
    { "preadv2", { preadv2_socket, preadv2_offset, preadv2_bad } },
    { "preadv64v2", { preadv2_socket, preadv2_offset, preadv2_bad } },
    { "poll", { poll_good, poll_bad } },
    { "__poll", { poll_good, poll_bad } },
    { "__poll_chk", { poll_chk_good, poll_chk_bad } },
    { "ppoll", { ppoll_good, ppoll_bad } },
    { "__ppoll_chk", { ppoll_chk_good, ppoll_chk_bad } },
    { "select", { select_good, select_bad } },
    { "__select", { select_good, select_bad } },
    { "pselect", { pselect_good, pselect_bad } },
    { "epoll_wait", { epoll_good, epoll_bad } },
    { "epoll_pwait", { epoll_mask_good, epoll_mask_bad } },
    { "epoll_pwait2", { epoll_time_good, epoll_time_bad } },
    { "fork", { fork_good, fork_none } },
    { "__fork", { fork_good, fork_none } },
    { "_Fork", { fork_good, fork_none } },
    { "vfork", { vfork_good, vfork_none } },
    { "_exit", { exit_good } },
    { "_Exit", { exit_good } },
    { "quick_exit", { exit_good } },
    { "execv", { execv_good, execv_none, execv_folder } },
    { "execvp", { execvp_good, execvp_none } },
    { "execve", { execve_good, execve_none, execve_fault } },
    { "execvpe", { execvpe_good, execvpe_none } },
    { "execl", { execl_good, execl_none } },
    { "execlp", { execl_good, execlp_none } },
    { "execle", { execle_none } },
    { "fexecve", { fexecve_good, fexecve_bad } },
    { "execveat", { execveat_good, execveat_none } },
    { "posix_spawn", { spawn_good, spawn_none } },
    { "posix_spawnp", { spawnp_good, spawnp_none } },
    { "posix_spawn_file_actions_addopen", { addopen_log, addopen_file, addopen_bad } },
    { "system", { system_good, system_ask, system_none } },
    { "popen", { popen_good, popen_mode } },
    { "wordexp", { wordexp_good, wordexp_bad, wordexp_refused } },
    { "setuid", { becomes_good, becomes_bad } },
    { "seteuid", { becomes_good, becomes_bad } },
    { "setreuid", { becomes_two_good, becomes_two_bad } },
    { "setresuid", { becomes_three_good, becomes_three_bad } },
    { "chroot", { chroot_good, chroot_none } },
    { "syscall", { syscall_send, syscall_receive, syscall_reset, syscall_close, syscall_bad, syscall_log, syscall_exec, syscall_other } },
    { "dlopen", { dlopen_own, dlopen_none } },
    { "dlmopen", { dlmopen_own, dlmopen_none } },
    { "open", { open_log, open_file, open_none, open_log_none, open_log_folder, open_log_fault } },
    { "open64", { open_log, open_file, open_none } },
    { "__open_2", { open_2_log, open_2_none } },
    { "__open64_2", { open_2_log, open_2_none } },
    { "openat", { openat_log, openat_bad, openat_none } },
    { "openat64", { openat_log, openat_bad, openat_none } },
    { "__openat_2", { openat_2_log, openat_2_none } },
    { "__openat64_2", { openat_2_log, openat_2_none } },
    { "pwrite", { pwrite_log, pwrite_file, pwrite_socket, pwrite_bad } },
    { "pwrite64", { pwrite_log, pwrite_bad } },
    { "pwritev", { pwritev_log, pwritev_socket, pwritev_bad } },
    { "pwritev64", { pwritev_log, pwritev_bad } },
    { "fopen", { fopen_log, fopen_both, fopen_file, fopen_none, fopen_log_none, fopen_log_folder, fopen_mode } },
    { "fopen64", { fopen_log, fopen_none } },
    { "freopen", { freopen_log, freopen_none } },
    { "freopen64", { freopen_log, freopen_none } },
    { "fileno", { fileno_socket, fileno_log, fileno_file, fileno_memory } },
    { "fileno_unlocked", { fileno_socket, fileno_log, fileno_file, fileno_memory } },
    { "dprintf", { dprintf_socket, dprintf_file, dprintf_bad, dprintf_reset } },
    { "__dprintf_chk", { dprintf_chk_socket, dprintf_chk_bad } },
    { "vdprintf", { vdprintf_socket, vdprintf_bad } },
    { "__vdprintf_chk", { vdprintf_chk_socket, vdprintf_chk_bad } },
    { "openlog", { openlog_late, openlog_now } },
    { "syslog", { syslog_good, syslog_masked } },
    { "__syslog_chk", { syslog_chk_good } },
    { "vsyslog", { vsyslog_good } },
    { "__vsyslog_chk", { vsyslog_chk_good } },
    { "getaddrinfo", { getaddrinfo_good, getaddrinfo_local, getaddrinfo_none, getaddrinfo_flags } },
    { "freeaddrinfo", { freeaddrinfo_good } },
#ifdef __GLIBC__
    { "getaddrinfo_a", { several_good, several_mode } },
    { "__res_nquery", { query_by_none } },
    { "__res_nsearch", { query_by_none } },
    { "__res_nsend", { question_by_small } },
    { "res_nquery", { query_by_none } },
    { "res_nsearch", { query_by_none } },
    { "res_nsend", { question_by_small } },
    /* musl would ask its name servers, and wait for them. */
    { "__res_send", { question_small } },
    { "res_send", { question_small } },
#endif
    { "__res_query", { query_none } },
    { "__res_search", { query_none } },
    { "res_query", { query_none } },
    { "res_search", { query_none } },
    { "getnameinfo", { getnameinfo_good, getnameinfo_small, getnameinfo_family } },
    { "gethostbyname", { host_good, host_local } },
    { "gethostbyname2", { host2_good, host2_family } },
    { "gethostbyaddr", { hostaddr_good, hostaddr_family } },
    { "gethostbyname_r", { host_r_good, host_r_small } },
    { "gethostbyname2_r", { host2_r_good, host2_r_small } },
    { "gethostbyaddr_r", { hostaddr_r_good, hostaddr_r_small } },
};

/* Tries a way twice in a process of its own. It is not made by fork(3), which is one of the functions. */
static void try(const char *name, int at, way *way)
{
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        for (int time = 0; time < 2; time++) {
            void *function = dlsym(RTLD_DEFAULT, name);
            errno = BEFORE;
            long result = way(function);
            int error = errno;
            char line[128];
            int length = snprintf(line, sizeof line, "%s %d: %ld (%d)\n", name, at, result, error);
            syscall(SYS_write, 1, line, length);
        }
        _exit(0);
    }
    int status = status_of(pid);
    if (status != 0)
        printf("%s %d: status %d\n", name, at, status);
    fflush(stdout);
}

int main(int count, char **names)
{
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IONBF, 0);
    if (count > 1) {
        must(mkdtemp(folder) != NULL, "mkdtemp");
        /* Not by appending: that makes no file in a replay. */
        must(close(open(path("log"), O_WRONLY | O_CREAT, 0600)) == 0, "log");
    }
    for (size_t at = 0; at < sizeof functions / sizeof functions[0]; at++) {
        int asked = 0;
        for (int name = 1; name < count; name++)
            asked |= strcmp(names[name], functions[at].name) == 0;
        if (count == 1)
            printf("%s %s\n", dlsym(RTLD_DEFAULT, functions[at].name) ? "has" : "lacks", functions[at].name);
        for (int way = 0; asked && functions[at].ways[way]; way++)
            try(functions[at].name, way, functions[at].ways[way]);
    }
    if (count > 1) {
        unlink(path("log"));
        unlink(path("file"));
        rmdir(folder);
    }
    return 0;
}

/*
 * sockets ask PORT UNIX_PATH FILE CASE..: for each case a connection to a server that sends back what it gets; each way
 * in which a program can come by a socket, send on it, receive on it and get rid of it.
 * sockets serve PORT UNIX_PATH: accepts one connection in each way that there is, and sends back what it gets on it.
 * sockets child FD: what a case starts with an inherited socket.
 *
 * What is sent begins with the case's name. Ends with 0 when every case has got back what it sent.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *self, *unix_path, *file_path, *current = "start";
static uint16_t port;
static char text[256 * 1024], answer[256 * 1024];
static size_t length;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s: %s\n", current, what, strerror(errno));
    exit(1);
}

/* What a call returned, unless it failed. */
static long check(long result, const char *what) {
    if (result < 0) fail(what);
    return result;
}
#define CHECK(call) check(call, #call)

static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    length = (size_t)vsprintf(text, format, arguments);
    va_end(arguments);
}

static struct sockaddr_in server(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static struct sockaddr_un local(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, unix_path, sizeof address.sun_path - 1);
    return address;
}

static int dial_on(int fd) {
    struct sockaddr_in address = server();
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address));
    return fd;
}

static int dial(void) { return dial_on((int)CHECK(socket(AF_INET, SOCK_STREAM, 0))); }

/* Receives `count` bytes, which must be those that were sent from `at` on. */
static void hear_from(int fd, size_t at, size_t count) {
    for (size_t got = 0; got < count;) {
        ssize_t more = CHECK(recv(fd, answer + got, count - got, 0));
        if (more == 0) fail("the server ended the connection");
        got += (size_t)more;
    }
    if (memcmp(answer, text + at, count) != 0) fail("other bytes came back");
}

static void hear(int fd) { hear_from(fd, 0, length); }

static void talk(int fd) {
    CHECK(send(fd, text, length, 0));
    hear(fd);
}

static void reap(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0));
    if (status != 0) fail("a child failed");
}

/* A system call that no library can see. */
static long unseen(long number, long a, long b, long c) {
    long result;
#if defined(__x86_64__)
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
#else
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x8 __asm__("x8") = number;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x8) : "memory");
    result = x0;
#endif
    return result;
}

/* Two parts of the text. */
static struct iovec *parts(char *base, size_t first, size_t all) {
    static struct iovec vector[2];
    vector[0] = (struct iovec){base, first};
    vector[1] = (struct iovec){base + first, all - first};
    return vector;
}

static void case_send(void) {
    int fd = dial();
    talk(fd);
    close(fd);
}

static void case_sendto(void) {
    int fd = dial();
    CHECK(sendto(fd, text, length, 0, NULL, 0));
    hear(fd);
    close(fd);
}

static void case_write(void) {
    int fd = dial();
    CHECK(write(fd, text, length));
    hear(fd);
    close(fd);
}

static void case_writev(void) {
    int fd = dial();
    CHECK(writev(fd, parts(text, 3, length), 2));
    CHECK(pwritev2(fd, parts(text, 5, length), 2, -1, 0));
    hear(fd);
    hear(fd);
    close(fd);
}

static void case_sendmsg(void) {
    int fd = dial();
    struct msghdr message = {.msg_iov = parts(text, 3, length), .msg_iovlen = 2};
    CHECK(sendmsg(fd, &message, 0));
    hear(fd);
    close(fd);
}

static struct mmsghdr *messages(char *base, size_t all) {
    static struct mmsghdr two[2];
    struct iovec *vector = parts(base, 3, all);
    for (int at = 0; at < 2; at += 1) {
        two[at] = (struct mmsghdr){.msg_hdr = {.msg_iov = vector + at, .msg_iovlen = 1}};
    }
    return two;
}

static void case_sendmmsg(void) {
    int fd = dial();
    if (CHECK(sendmmsg(fd, messages(text, length), 2, 0)) != 2) fail("sendmmsg");
    hear(fd);
    if (CHECK(syscall(SYS_sendmmsg, fd, messages(text, length), 2, 0)) != 2) fail("sendmmsg");
    hear(fd);
    close(fd);
}

static void case_dprintf(void) {
    int fd = dial();
    CHECK(dprintf(fd, "%s", text));
    hear(fd);
    close(fd);
}

static void case_sendfile(void) {
    int fd = dial(), file = (int)CHECK(open(file_path, O_RDONLY));
    off_t at = 5;
    size_t rest = (size_t)CHECK(sendfile(fd, file, &at, 50 * 1024));
    CHECK(lseek(file, 7, SEEK_SET));
    rest += (size_t)CHECK(sendfile(fd, file, NULL, 100));
    close(file);
    while (rest > 0) rest -= (size_t)CHECK(recv(fd, answer, sizeof answer, 0));
    close(fd);
}

static void case_splice(void) {
    int fd = dial(), ends[2];
    CHECK(pipe(ends));
    CHECK(write(ends[1], text, length));
    CHECK(splice(ends[0], NULL, fd, NULL, length, 0));
    size_t back = 0;
    while (back < length) back += (size_t)CHECK(splice(fd, NULL, ends[1], NULL, length - back, 0));
    CHECK(read(ends[0], answer, sizeof answer));
    close(fd);
    close(ends[0]);
    close(ends[1]);
}

static void case_stdio(void) {
    FILE *stream = fdopen(dial(), "r+");
    fputs(text, stream);
    fflush(stream);
    if (!fgets(answer, sizeof answer, stream)) fail("fgets");
    fprintf(stream, "and number %d\n", 2);
    fflush(stream);
    if (!fgets(answer, sizeof answer, stream)) fail("fgets");
    fputs("the last one, by fclose\n", stream);
    fclose(stream);
}

static void case_stdio_unbuffered(void) {
    FILE *stream = fdopen(dial(), "r+");
    setvbuf(stream, NULL, _IONBF, 0);
    fwrite(text, 1, length, stream);
    char *line = NULL;
    size_t room = 0;
    CHECK(getline(&line, &room, stream));
    free(line);
    fclose(stream);
}

static void case_receive(void) {
    int fd = dial();
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    CHECK(send(fd, text, length, 0));
    CHECK(recvfrom(fd, answer, length, MSG_WAITALL, (struct sockaddr *)&from, &size));
    CHECK(send(fd, text, length, 0));
    CHECK(read(fd, answer, 3));
    CHECK(readv(fd, parts(answer, 3, sizeof answer), 2));
    CHECK(send(fd, text, length, 0));
    struct msghdr message = {.msg_iov = parts(answer, 3, sizeof answer), .msg_iovlen = 2};
    CHECK(recvmsg(fd, &message, 0));
    CHECK(send(fd, text, length, 0));
    CHECK(preadv2(fd, parts(answer, 3, sizeof answer), 2, -1, 0));
    close(fd);
}

static void case_recvmmsg(void) {
    int fd = dial();
    CHECK(send(fd, text, length, 0));
    CHECK(recv(fd, answer, length, MSG_PEEK | MSG_WAITALL));
    if (CHECK(recvmmsg(fd, messages(answer, length), 2, 0, NULL)) != 2) fail("recvmmsg");
    close(fd);
}

static void case_peek(void) {
    int fd = dial();
    CHECK(send(fd, text, length, 0));
    CHECK(recv(fd, answer, 5, MSG_PEEK));
    CHECK(recv(fd, answer, sizeof answer, MSG_PEEK));
    hear(fd);
    close(fd);
}

static void case_thrown_away(void) {
    int fd = dial();
    CHECK(send(fd, text, length, 0));
    CHECK(recv(fd, NULL, 4, MSG_TRUNC | MSG_WAITALL));
    hear_from(fd, 4, length - 4);
    close(fd);
}

/* As some servers wait for the end of their clients. */
static void case_drained(void) {
    int fd = dial();
    CHECK(send(fd, text, length, 0));
    hear_from(fd, 0, length);
    CHECK(shutdown(fd, SHUT_WR));
    while (CHECK(recv(fd, answer, sizeof answer, MSG_TRUNC)) > 0) fail("there was nothing left");
    close(fd);
}

static void case_system_call(void) {
    struct sockaddr_in address = server();
    int fd = (int)CHECK(syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
    CHECK(syscall(SYS_connect, fd, &address, sizeof address));
    CHECK(syscall(SYS_write, fd, text, 5));
    CHECK(syscall(SYS_sendto, fd, text + 5, length - 5, 0, NULL, 0));
    CHECK(syscall(SYS_recvfrom, fd, answer, 5, MSG_WAITALL, NULL, NULL));
    CHECK(syscall(SYS_read, fd, answer, sizeof answer));
    CHECK(syscall(SYS_close, fd));
}

/* One number after the other for several connections, closed in all ways. */
static void case_reuse(void) {
    int number = -1;
    for (int way = 0; way < 5; way += 1) {
        int fd = dial();
        if (number >= 0 && fd != number) fail("the number was not used again");
        number = fd;
        say("reuse: connection %d\n", way);
        talk(fd);
        if (way == 0) close(fd);
        if (way == 1) CHECK(syscall(SYS_close, fd));
        if (way == 2) CHECK(close_range((unsigned)fd, (unsigned)fd, 0));
        if (way == 3) fclose(fdopen(fd, "r"));
        if (way == 4) CHECK(unseen(SYS_close, fd, 0, 0));
    }
    case_send();
}

static void case_dup(void) {
    int fd = dial();
    int second = (int)CHECK(dup(fd)), third = (int)CHECK(fcntl(fd, F_DUPFD_CLOEXEC, 100));
    int fourth = (int)CHECK(dup2(fd, 200));
    CHECK(send(fd, text, 3, 0));
    CHECK(send(second, text + 3, 3, 0));
    close(fd);
    CHECK(send(third, text + 6, 3, 0));
    CHECK(write(fourth, text + 9, length - 9));
    hear(second);
    close(second);
    close(third);
    close(fourth);
    int over = dial();
    fd = dial();
    talk(over);
    CHECK(dup2(fd, over));
    talk(over);
    close(over);
    close(fd);
}

static void case_fork(void) {
    int fd = dial();
    talk(fd);
    pid_t child = (pid_t)CHECK(fork());
    if (child == 0) {
        talk(fd);
        _exit(0);
    }
    reap(child);
    talk(fd);
    close(fd);
    fd = dial();
    child = (pid_t)CHECK(fork());
    if (child == 0) {
        talk(fd);
        _exit(0);
    }
    reap(child);
    close(fd);
}

/* A process that is started in another way talks on the socket, between two talks of this one. */
static void started(int fd, int way) {
    char number[12];
    sprintf(number, "%d", fd);
    char *const arguments[] = {(char *)self, "child", number, NULL};
    pid_t child;
    talk(fd);
    if (way == 0 && (child = (pid_t)CHECK(fork())) == 0) {
        execl(self, self, "child", number, (char *)NULL);
        _exit(1);
    }
    if (way == 1 && (child = (pid_t)CHECK(vfork())) == 0) {
        execv(self, arguments);
        _exit(1);
    }
    if (way == 2 && posix_spawn(&child, self, NULL, NULL, arguments, environ) != 0) fail("posix_spawn");
    reap(child);
    talk(fd);
    close(fd);
}

static void case_exec(void) { started(dial(), 0); }
static void case_vfork(void) { started(dial(), 1); }
static void case_spawn(void) { started(dial(), 2); }

static void case_shell(void) {
    int fd = dial();
    pid_t child = (pid_t)CHECK(fork());
    if (child == 0) {
        dup2(fd, 0);
        dup2(fd, 1);
        execl("/bin/sh", "sh", "-c", "echo shell says; read x; printf 'and %s\\n' \"$x\"; read y", (char *)NULL);
        _exit(1);
    }
    reap(child);
    close(fd);
}

static void case_rights(void) {
    int pair[2];
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char byte = 'x';
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    message.msg_control = control.room;
    message.msg_controllen = sizeof control.room;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    pid_t child = (pid_t)CHECK(fork());
    if (child == 0) {
        int fd;
        CHECK(recvmsg(pair[1], &message, 0));
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
        talk(fd);
        _exit(0);
    }
    int fd = dial();
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    CHECK(sendmsg(pair[0], &message, 0));
    close(fd);
    reap(child);
    close(pair[0]);
    close(pair[1]);
}

static void case_half(void) {
    int fd = dial();
    CHECK(send(fd, text, length, 0));
    CHECK(shutdown(fd, SHUT_WR));
    hear(fd);
    if (CHECK(recv(fd, answer, 1, 0)) != 0) fail("more came");
    close(fd);
}

static void case_reset(void) {
    int fd = dial();
    struct linger now = {1, 0};
    talk(fd);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    close(fd);
}

static void await(int fd, short events) {
    struct pollfd one = {fd, events, 0};
    CHECK(poll(&one, 1, 20000));
}

static void case_nonblocking(void) {
    struct sockaddr_in address = server();
    int fd = (int)CHECK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)), error;
    socklen_t size = sizeof error;
    connect(fd, (struct sockaddr *)&address, sizeof address);
    await(fd, POLLOUT);
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
    /* More than fits: the kernel takes it in parts. */
    for (size_t at = length; at < sizeof text; at += 1) text[at] = (char)('a' + at % 26);
    for (size_t out = 0, in = 0; in < sizeof text;) {
        await(fd, POLLIN | (out < sizeof text ? POLLOUT : 0));
        ssize_t taken = send(fd, text + out, sizeof text - out, MSG_NOSIGNAL);
        if (taken > 0) out += (size_t)taken;
        ssize_t came = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
        if (came == 0) fail("the server ended the connection");
        if (came > 0) in += (size_t)came;
    }
    close(fd);
}

static void case_fast_open(void) {
    struct sockaddr_in address = server();
    int fd = (int)CHECK(socket(AF_INET, SOCK_STREAM, 0)), one = 1;
    CHECK(sendto(fd, text, length, MSG_FASTOPEN, (struct sockaddr *)&address, sizeof address));
    hear(fd);
    close(fd);
    fd = (int)CHECK(socket(AF_INET, SOCK_STREAM, 0));
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof one));
    talk(dial_on(fd));
    close(fd);
}

static void case_zero_copy(void) {
    int fd = dial(), one = 1;
    char notice[256];
    struct msghdr message = {.msg_control = notice, .msg_controllen = sizeof notice};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one));
    CHECK(send(fd, text, length, MSG_ZEROCOPY));
    hear(fd);
    await(fd, 0);
    CHECK(recvmsg(fd, &message, MSG_ERRQUEUE));
    CHECK(send(fd, text, 5, MSG_MORE));
    CHECK(send(fd, text + 5, length - 5, 0));
    hear(fd);
    close(fd);
}

static void *send_text(void *fd) {
    CHECK(send(*(int *)fd, text, length, 0));
    return NULL;
}

static void case_threads(void) {
    int fd = dial();
    pthread_t sender;
    pthread_create(&sender, NULL, send_text, &fd);
    hear(fd);
    pthread_join(sender, NULL);
    close(fd);
}

static void case_unix(void) {
    struct sockaddr_un address = local();
    int fd = (int)CHECK(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address));
    talk(fd);
    close(fd);
}

static void case_mapped(void) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.sin6_addr);
    int fd = (int)CHECK(socket(AF_INET6, SOCK_STREAM, 0));
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address));
    talk(fd);
    close(fd);
}

static void case_unclosed(void) {
    static int fd;
    fd = dial();
    talk(fd);
}

static void case_unseen_send(void) {
    int fd = dial();
    CHECK(send(fd, text, 5, 0));
    unseen(SYS_write, fd, (long)text + 5, (long)length - 5);
    hear(fd);
    close(fd);
}

static void case_unseen_receive(void) {
    int fd = dial();
    CHECK(send(fd, text, length, 0));
    unseen(SYS_read, fd, (long)answer, (long)length);
    close(fd);
}

static void case_unseen(void) {
    int fd = dial();
    unseen(SYS_write, fd, (long)text, (long)length);
    unseen(SYS_read, fd, (long)answer, (long)length);
    close(fd);
}

static void case_unseen_unclosed(void) {
    pid_t child = (pid_t)CHECK(fork());
    if (child == 0) {
        int fd = dial();
        talk(fd);
        unseen(SYS_write, fd, (long)text, (long)length);
        unseen(SYS_read, fd, (long)answer, (long)length);
        _exit(0);
    }
    reap(child);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"send", case_send},
    {"sendto", case_sendto},
    {"write", case_write},
    {"writev", case_writev},
    {"sendmsg", case_sendmsg},
    {"sendmmsg", case_sendmmsg},
    {"dprintf", case_dprintf},
    {"sendfile", case_sendfile},
    {"splice", case_splice},
    {"stdio", case_stdio},
    {"stdio-unbuffered", case_stdio_unbuffered},
    {"receive", case_receive},
    {"recvmmsg", case_recvmmsg},
    {"peek", case_peek},
    {"thrown-away", case_thrown_away},
    {"drained", case_drained},
    {"system-call", case_system_call},
    {"reuse", case_reuse},
    {"dup", case_dup},
    {"fork", case_fork},
    {"exec", case_exec},
    {"vfork", case_vfork},
    {"spawn", case_spawn},
    {"shell", case_shell},
    {"rights", case_rights},
    {"half", case_half},
    {"reset", case_reset},
    {"nonblocking", case_nonblocking},
    {"fast-open", case_fast_open},
    {"zero-copy", case_zero_copy},
    {"threads", case_threads},
    {"unix", case_unix},
    {"mapped", case_mapped},
    {"unclosed", case_unclosed},
    {"unseen-send", case_unseen_send},
    {"unseen-receive", case_unseen_receive},
    {"unseen", case_unseen},
    {"unseen-unclosed", case_unseen_unclosed},
};

static void ask(const char *name) {
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at += 1) {
        if (strcmp(cases[at].name, name) != 0) continue;
        current = name;
        say("%s: what is sent for it\n", name);
        cases[at].run();
        return;
    }
    fprintf(stderr, "no case %s\n", name);
    exit(2);
}

static void echo(int fd) {
    ssize_t came;
    while ((came = CHECK(read(fd, answer, sizeof answer))) > 0) CHECK(write(fd, answer, (size_t)came));
    close(fd);
}

/* Lets another program have the connection as its input and output. */
static void give(int fd, int listener) {
    pid_t child = (pid_t)CHECK(fork());
    if (child == 0) {
        close(listener);
        dup2(fd, 0);
        dup2(fd, 1);
        close(fd);
        execlp("cat", "cat", (char *)NULL);
        _exit(1);
    }
    close(fd);
    reap(child);
}

static void serve(void) {
    struct sockaddr_in address = server(), from;
    struct sockaddr_un path = local();
    socklen_t size = sizeof from;
    int one = 1;
    int listener = (int)CHECK(socket(AF_INET, SOCK_STREAM, 0));
    int unix_listener = (int)CHECK(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    CHECK(bind(unix_listener, (struct sockaddr *)&path, sizeof path));
    CHECK(listen(unix_listener, 16));
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address));
    CHECK(listen(listener, 16));
    /* The test has tried whether anybody listens. */
    close((int)CHECK(accept(listener, NULL, NULL)));
    echo((int)CHECK(accept(listener, NULL, NULL)));
    echo((int)CHECK(accept(listener, (struct sockaddr *)&from, &size)));
    size = 4;
    echo((int)CHECK(accept4(listener, (struct sockaddr *)&from, &size, SOCK_CLOEXEC)));
    echo((int)CHECK(syscall(SYS_accept4, listener, NULL, NULL, 0)));
    give((int)CHECK(accept(listener, NULL, NULL)), listener);
    int fd = (int)CHECK(accept(listener, NULL, NULL));
    pid_t child = (pid_t)CHECK(fork());
    if (child == 0) {
        echo(fd);
        _exit(0);
    }
    close(fd);
    reap(child);
    echo((int)CHECK(accept(unix_listener, NULL, NULL)));
    size = sizeof path;
    echo((int)CHECK(accept(unix_listener, (struct sockaddr *)&path, &size)));
    give((int)CHECK(accept(unix_listener, NULL, NULL)), unix_listener);
}

int main(int count, char **arguments) {
    self = arguments[0];
    signal(SIGPIPE, SIG_IGN);
    if (count == 3 && strcmp(arguments[1], "child") == 0) {
        current = "child";
        say("child: what it sends\n");
        talk(atoi(arguments[2]));
        return 0;
    }
    if (count < 4) return 2;
    port = (uint16_t)atoi(arguments[2]);
    unix_path = arguments[3];
    if (strcmp(arguments[1], "serve") == 0) {
        serve();
        return 0;
    }
    file_path = arguments[4];
    for (int at = 5; at < count; at += 1) ask(arguments[at]);
    return 0;
}

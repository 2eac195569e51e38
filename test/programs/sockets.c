/* One way of using a socket for each word: `sockets WORD PORT` opens a connection to 127.0.0.1:PORT, sends, ends its
 * half of the connection, receives until the peer ends the other one, and prints what each call returned. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_in peer;

/* What a call returned, and errno, which was 77 before it. */
#define TELL(call)                                                 \
    do {                                                           \
        errno = 77;                                                \
        long told_ = (long)(call);                                 \
        printf("%s = %ld (%d)\n", #call, told_, errno);            \
    } while (0)

static int opened(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&peer, sizeof peer) != 0) {
        perror("connect");
        exit(1);
    }
    return fd;
}

#ifndef __GLIBC__
/* musl has no function for it. */
static int close_range(unsigned first, unsigned last, int flags)
{
    return syscall(SYS_close_range, first, last, flags);
}
#endif

/* Prints the answer, as it was read. */
static void answer(int fd)
{
    char text[4096];
    ssize_t got;
    while ((got = read(fd, text, sizeof text)) > 0)
        printf("%.*s", (int)got, text);
    printf("end = %zd\n", got);
}

static void finish(int fd)
{
    TELL(shutdown(fd, SHUT_WR));
    answer(fd);
    TELL(close(fd));
}

static void many(void)
{
    int fd = opened();
    struct iovec parts[4] = {{"one ", 4}, {"two ", 4}, {"", 0}, {"three\n", 6}};
    struct mmsghdr messages[3] = {{{.msg_iov = parts, .msg_iovlen = 2}, 0},
                                  {{.msg_iov = parts + 2, .msg_iovlen = 1}, 0},
                                  {{.msg_iov = parts + 2, .msg_iovlen = 2}, 0}};
    TELL(sendmmsg(fd, messages, 3, 0));
    printf("%u %u %u\n", messages[0].msg_len, messages[1].msg_len, messages[2].msg_len);
    TELL(sendmmsg(fd, messages, 0, 0));
    TELL(syscall(SYS_sendmmsg, fd, messages, 1, 0));
    TELL(sendmmsg(fd, NULL, 1, 0));
    TELL(shutdown(fd, SHUT_WR));
    char first[5], second[3], rest[4096];
    struct iovec into[3] = {{first, 5}, {second, 3}, {rest, sizeof rest}};
    struct mmsghdr received[2] = {{{.msg_iov = into, .msg_iovlen = 1}, 0}, {{.msg_iov = into + 1, .msg_iovlen = 1}, 0}};
    struct timespec patience = {5, 0};
    struct pollfd ready = {fd, POLLIN, 0};
    TELL(poll(&ready, 1, -1));
    TELL(recvmmsg(fd, received, 2, MSG_PEEK, NULL));
    TELL(recvmmsg(fd, received, 2, MSG_WAITALL, &patience));
    printf("%.5s|%.3s\n", first, second);
    answer(fd);
    TELL(close(fd));
}

static void faults(void)
{
    int fd = opened();
    void *nowhere = (void *)-1;
    struct iovec bad = {nowhere, 4};
    /* Not known to the compiler, which would warn of them. */
    volatile int negative = -1, excessive = 5000;
    void *volatile nothing = NULL;
    TELL(send(fd, NULL, 4, 0));
    TELL(send(fd, nowhere, 4, 0));
    TELL(write(fd, NULL, 0));
    TELL(write(fd, nothing, 4));
    TELL(writev(fd, nothing, 1));
    TELL(writev(fd, &bad, 1));
    TELL(writev(fd, &bad, negative));
    TELL(writev(fd, &bad, excessive));
#ifdef __GLIBC__
    /* musl reads the message by itself. */
    TELL(sendmsg(fd, NULL, 0));
    TELL(recvmsg(fd, NULL, 0));
#endif
    TELL(sendto(fd, "x", 0, 0, NULL, 0));
    TELL(recv(fd, NULL, 4, MSG_DONTWAIT));
    TELL(send(-1, "x", 1, 0));
    TELL(connect(fd, nowhere, sizeof peer));
    TELL(connect(fd, NULL, 0));
    TELL(connect(fd, (struct sockaddr *)&peer, sizeof peer));
    TELL(accept(fd, NULL, NULL));
    TELL(sendfile(fd, -1, NULL, 4));
    TELL(splice(-1, NULL, fd, NULL, 4, 0));
    TELL(send(fd, "sound\n", 6, MSG_NOSIGNAL));
    TELL(recv(fd, NULL, 0, MSG_DONTWAIT));
    finish(fd);
}

static void spliced(void)
{
    int fd = opened(), ends[2];
    TELL(pipe(ends));
    TELL(splice(ends[0], NULL, fd, NULL, 100, SPLICE_F_NONBLOCK));
    TELL(write(ends[1], "through a pipe, and more\n", 25));
    TELL(splice(ends[0], NULL, fd, NULL, 15, 0));
    TELL(splice(ends[0], NULL, fd, NULL, 100, SPLICE_F_MORE));
    if (fork() == 0) {
        usleep(50000);
        _exit(write(ends[1], "later\n", 6) != 6);
    }
    TELL(splice(ends[0], NULL, fd, NULL, 100, 0));
    TELL(close(ends[1]));
    TELL(splice(ends[0], NULL, fd, NULL, 100, 0));
    wait(NULL);
    TELL(shutdown(fd, SHUT_WR));
    int back[2];
    char text[4096];
    TELL(pipe(back));
    for (long got; (got = splice(fd, NULL, back[1], NULL, 7, 0)) > 0;)
        printf("%.*s", (int)read(back[0], text, sizeof text), text);
    TELL(splice(fd, NULL, back[1], NULL, 7, 0));
    TELL(close(fd));
}

static void files(void)
{
    int fd = opened(), file = fileno(tmpfile()), null = open("/dev/null", O_RDONLY);
    off_t at = 5;
    TELL(write(file, "0123456789abcdef\n", 17));
    TELL(sendfile(fd, file, &at, 4));
    printf("at %ld, file at %ld\n", (long)at, (long)lseek(file, 0, SEEK_CUR));
    TELL(lseek(file, 10, SEEK_SET));
    TELL(sendfile(fd, file, NULL, 100));
    TELL(sendfile(fd, file, NULL, 100));
    at = 1000;
    TELL(sendfile(fd, file, &at, 4));
    at = -1;
    TELL(sendfile(fd, file, &at, 4));
    TELL(sendfile(fd, file, NULL, 0));
    TELL(sendfile(fd, null, NULL, 100));
    finish(fd);
}

static void streams(void)
{
    int fd = opened();
    FILE *out = fdopen(fd, "w"), *in = fdopen(dup(fd), "r");
    printf("%d %d\n", fileno(out) == fd, fileno(in) != fd && fileno(in) >= 0);
    TELL(fprintf(out, "a %d ", 42));
    TELL(fputs("b ", out) >= 0);
    TELL(fputc('c', out));
    TELL(fwrite(" dddd", 1, 5, out));
    TELL(fflush(out));
    TELL(dprintf(fd, " e %s", "f"));
    TELL(putc('\n', out));
    char *large = malloc(20001);
    memset(large, 'g', 20000);
    large[20000] = 0;
    TELL(fputs(large, out) >= 0);
    TELL(dprintf(fd, "%s\n", large + 15000));
    TELL(fseek(out, 0, SEEK_SET));
    TELL(fflush(out));
    TELL(shutdown(fd, SHUT_WR));
    char line[8], *whole = NULL;
    size_t size = 0;
    TELL(fgets(line, sizeof line, in) == line);
    TELL(fgetc(in));
    TELL(ungetc('x', in));
    TELL(getc(in));
    TELL(getline(&whole, &size, in) > 0);
    printf("%s|%s", line, whole);
    TELL(fread(line, 1, 4, in));
    while (fread(line, 1, 1, in) == 1)
        ;
    TELL(feof(in) != 0);
    TELL(ferror(in));
    TELL(fclose(in));
    TELL(fclose(out));
    TELL(fcntl(fd, F_GETFD));
    TELL(fdopen(fd, "r") == NULL);
}

/* A stream that nobody closes is written at the end of the process. */
static void unclosed(void)
{
    FILE *out = fdopen(opened(), "w");
    TELL(fputs("at the very end\n", out) >= 0);
}

static void fast_open(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    TELL(sendto(fd, "opened and sent\n", 16, MSG_FASTOPEN, (struct sockaddr *)&peer, sizeof peer));
    finish(fd);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    TELL(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &(int){1}, sizeof(int)));
    TELL(connect(fd, (struct sockaddr *)&peer, sizeof peer));
    TELL(write(fd, "and again\n", 10));
    finish(fd);
}

static void peeked(void)
{
    int fd = opened();
    char text[64];
    TELL(write(fd, "look\n", 5));
    TELL(shutdown(fd, SHUT_WR));
    struct iovec part = {text, sizeof text};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    TELL(recv(fd, text, 1, MSG_PEEK));
    TELL(recvfrom(fd, text, 2, MSG_PEEK | MSG_WAITALL, NULL, NULL));
    TELL(recvmsg(fd, &message, MSG_PEEK) > 0);
    TELL(recv(fd, text, 1, MSG_PEEK | MSG_TRUNC));
    TELL(recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT));
    TELL(read(fd, text, 3));
    answer(fd);
    TELL(close(fd));
}

static void twins(void)
{
    int fd = opened(), other = opened();
    TELL(write(fd, "first ", 6));
    int twin = dup(fd), high = fcntl(fd, F_DUPFD_CLOEXEC, 100);
    TELL(high);
    TELL(close(fd));
    TELL(write(twin, "twin ", 5));
    TELL(dup2(twin, other) == other);
    TELL(write(other, "over ", 5));
    TELL(dup2(-1, other));
    TELL(dup2(other, other) == other);
    TELL(syscall(SYS_close, twin));
    TELL(syscall(SYS_sendto, other, "by number ", 10, 0, NULL, 0));
    TELL(close_range(other, other, 4 /* CLOSE_RANGE_CLOEXEC */));
    TELL(close_range(other, other, 64));
    TELL(write(other, "open ", 5));
    TELL(close_range(3, 99, 0));
    TELL(write(high, "high\n", 5));
    finish(high);
}

static void passed(void)
{
    int ends[2], fd = opened();
    TELL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    char byte = 'p';
    union { struct cmsghdr head; char room[CMSG_SPACE(sizeof fd)]; } control = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    TELL(write(fd, "before ", 7));
    TELL(sendmsg(ends[0], &message, 0));
    TELL(close(fd));
    TELL(recvmsg(ends[1], &message, 0));
    memcpy(&fd, CMSG_DATA(&control.head), sizeof fd);
    TELL(write(fd, "after\n", 6));
    finish(fd);
}

/* The socket is used before, by and after a child that executes another program, in one way or another. */
static void lent(const char *way, char *program, char *port)
{
    int fd = opened(), other = opened(), to = fd;
    char number[12], command[4096];
    TELL(write(other, "of its own\n", 11));
    TELL(write(fd, "before ", 7));
    fflush(stdout);
    pid_t child = -1;
    int moves = strcmp(way, "moved") == 0;
    if (moves)
        to = other;
    snprintf(number, sizeof number, "%d", to);
    char *arguments[] = {program, "lent", port, number, NULL}, *nothing[] = {NULL};
    snprintf(command, sizeof command, "exec '%s' lent %s %d", program, port, fd);
    if (strcmp(way, "shell") == 0) {
        TELL(system(command));
    } else if (strcmp(way, "popen") == 0) {
        FILE *from = popen(command, "r");
        while (fgets(command, sizeof command, from))
            fputs(command, stdout);
        TELL(pclose(from));
    } else if (strcmp(way, "spawn") == 0) {
        TELL(posix_spawn(&child, program, NULL, NULL, arguments, nothing));
    } else {
        child = strcmp(way, "forked") == 0 ? fork() : vfork();
        if (child == 0) {
            if (moves) {
                dup2(fd, to);
                close(fd);
            }
            execve(program, arguments, nothing);
            _exit(1);
        }
    }
    if (child > 0)
        waitpid(child, NULL, 0);
    TELL(write(fd, "behind\n", 7));
    finish(fd);
    finish(other);
}

static void executed(char *program, char *port)
{
    int fd = opened();
    char number[12];
    TELL(write(fd, "before ", 7));
    snprintf(number, sizeof number, "%d", fd);
    fflush(stdout);
    execl(program, program, "inherited", port, number, NULL);
}

static void refused(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), error = 0;
    socklen_t size = sizeof error;
    struct sockaddr_in nobody = peer;
    nobody.sin_port = htons(1);
    TELL(connect(fd, (struct sockaddr *)&nobody, sizeof nobody));
    struct pollfd ready = {fd, POLLOUT, 0};
    TELL(poll(&ready, 1, -1));
    TELL(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
    printf("error %d\n", error);
    TELL(connect(fd, (struct sockaddr *)&peer, sizeof peer));
    ready.revents = 0;
    TELL(poll(&ready, 1, -1));
    TELL(connect(fd, (struct sockaddr *)&peer, sizeof peer));
    TELL(connect(fd, (struct sockaddr *)&peer, sizeof peer));
    TELL(write(fd, "at last\n", 8));
    TELL(fcntl(fd, F_SETFL, 0));
    finish(fd);
}

/* A system call that no library makes. */
static long inlined(int fd, const char *text, size_t size)
{
#ifdef __x86_64__
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(1L), "D"((long)fd), "S"(text), "d"(size) : "rcx", "r11", "memory");
    return result;
#else
    register long number __asm__("x8") = 64, result __asm__("x0") = fd;
    register const char *from __asm__("x1") = text;
    register size_t length __asm__("x2") = size;
    __asm__ volatile("svc 0" : "+r"(result) : "r"(number), "r"(from), "r"(length) : "memory");
    return result;
#endif
}

static void unseen(void)
{
    int fd = opened();
    TELL(write(fd, "seen ", 5));
    TELL(inlined(fd, "unseen\n", 7));
    finish(fd);
}

/* Ends without closing, and without a word to libc's stdio; bytes were sent unseen. */
static int left_open(void)
{
    int fd = opened();
    TELL(write(fd, "seen ", 5));
    TELL(inlined(fd, "unseen\n", 7));
    fflush(stdout);
    return fd;
}

static void abrupt(void)
{
    left_open();
    _exit(0);
}

static void abrupt_child(void)
{
    fflush(stdout);
    if (fork() == 0) {
        left_open();
        _Exit(0);
    }
    wait(NULL);
}

static void abrupt_by_number(void)
{
    left_open();
    syscall(SYS_exit_group, 0);
}

static sigjmp_buf out;
static int signalled, storm_fd;
static volatile sig_atomic_t storms;

static void send_and_count(int number)
{
    int errno_before = errno;
    (void)number;
    if (storms < 200 && write(storm_fd, "!", 1) == 1)
        storms++;
    errno = errno_before;
}

static void jump(int number)
{
    (void)number;
    siglongjmp(out, 1);
}

/* Sends from a handler of signals that come all the time, and out of which another one jumps. */
static void signals(void)
{
    storm_fd = opened();
    int fd = opened(), sent = 0;
    signal(SIGALRM, send_and_count);
    struct itimerval often = {{0, 300}, {0, 300}};
    setitimer(ITIMER_REAL, &often, NULL);
    while (storms < 200)
        if (write(fd, "steady\n", 7) == 7)
            sent++;
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGUSR1, jump);
    for (int at = 0; at < 100; at++)
        if (sigsetjmp(out, 1) == 0) {
            raise(SIGUSR1);
        } else {
            signalled++;
        }
    printf("%d %d\n", sent > 0, signalled);
    finish(storm_fd);
    finish(fd);
}

/* Jumps out of sends and receives, wherever they are just then. */
static void jumped(void)
{
    int fd = opened();
    volatile int number = 0, jumps = 0, ended = 0, tries = 0;
    signal(SIGALRM, jump);
    while (jumps < 400) {
        if (sigsetjmp(out, 1) != 0) {
            jumps++;
            continue;
        }
        struct itimerval soon = {{0, 0}, {0, 1 + jumps % 50}};
        setitimer(ITIMER_REAL, &soon, NULL);
        for (;;) {
            char text[16];
            int length = snprintf(text, sizeof text, "%d\n", number);
            number++;
            if (write(fd, text, length) != length)
                break;
        }
    }
    shutdown(fd, SHUT_WR);
    while (!ended) {
        if (sigsetjmp(out, 1) != 0)
            continue;
        /* Sometimes there is time enough for a byte. */
        struct itimerval soon = {{0, 0}, {0, 20 + tries % 1000}};
        tries += 7;
        setitimer(ITIMER_REAL, &soon, NULL);
        char one;
        ssize_t got = read(fd, &one, 1);
        /* Where it was jumped out of, the byte is lost to the program as well. */
        ended = got == 0;
    }
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    printf("jumped %d times\n", jumps);
    close(fd);
    /* Koala is as good as before. */
    fd = opened();
    TELL(write(fd, "after it all\n", 13));
    finish(fd);
}

static void *one_byte(void *fd)
{
    return (void *)(write(*(int *)fd, ".", 1) == 1 ? NULL : fd);
}

/* Kilobytes of memory that are the process's alone: how much of the event log is in use depends on when it is read. */
static long resident(void)
{
    long pages = 0, kept = 0, shared = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld %ld", &pages, &kept, &shared) != 3)
        return -1;
    fclose(file);
    return (kept - shared) * sysconf(_SC_PAGESIZE) / 1024;
}

static void threads(void)
{
    int fd = opened(), failed = 0;
    long early = 0;
    int times = getenv("KOALA_SOAK") ? 300000 : 20000;
    for (int at = 0; at < times; at++) {
        pthread_t thread;
        void *result = NULL;
        failed += pthread_create(&thread, NULL, one_byte, &fd) != 0 || pthread_join(thread, &result) != 0 || result;
        if (at == 2000)
            early = resident();
    }
    printf("failed %d, grown by %s\n", failed, resident() - early < 1024 ? "little" : "much");
    finish(fd);
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    char *word = arguments[1];
    peer = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(arguments[2])),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(word, "inherited") == 0 && count == 4) {
        int fd = atoi(arguments[3]);
        TELL(write(fd, "after\n", 6));
        finish(fd);
        return 0;
    }
    if (strcmp(word, "lent") == 0 && count == 4) {
        TELL(write(atoi(arguments[3]), "between ", 8));
        return 0;
    }
    if (strncmp(word, "lent-", 5) == 0) {
        lent(word + 5, arguments[0], arguments[2]);
        return 0;
    }
    if (strcmp(word, "executed") == 0)
        executed(arguments[0], arguments[2]);
    static const struct { const char *word; void (*run)(void); } all[] = {
        {"many", many}, {"faults", faults}, {"spliced", spliced}, {"files", files}, {"streams", streams},
        {"unclosed", unclosed}, {"fast-open", fast_open}, {"peeked", peeked}, {"twins", twins}, {"passed", passed},
        {"refused", refused}, {"unseen", unseen}, {"signals", signals}, {"threads", threads},
        {"abrupt", abrupt}, {"abrupt-child", abrupt_child}, {"abrupt-number", abrupt_by_number}, {"jumped", jumped},
    };
    for (size_t at = 0; at < sizeof all / sizeof *all; at++)
        if (strcmp(word, all[at].word) == 0) {
            all[at].run();
            return 0;
        }
    return 2;
}

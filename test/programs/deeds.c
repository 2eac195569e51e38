/* A server of HTTP that appends to a log in one way or another, by itself or by a child: `deeds serve PORT LOG`. The path
 * of a request names the way; `/log` logs to the system's log instead. `deeds say TEXT` writes the text to its standard output by one system call,
 * `deeds print TEXT` by libc's stream, which it leaves to libc to write. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

extern char **environ;
static char self[4096], *log_path;

enum { APPEND = O_WRONLY | O_APPEND | O_CREAT };

static void check(int good)
{
    if (!good)
        _exit(9);
}

/* Appends by a descriptor of the server's own. */
static void append(const char *way, const char *text, size_t length)
{
    /* struct open_how, which not every libc has. */
    unsigned long long how[3] = {APPEND | O_CLOEXEC, 0644};
    long fd;
    if (strcmp(way, "openat2") == 0)
        fd = syscall(SYS_openat2, AT_FDCWD, log_path, how, sizeof how);
    else if (strcmp(way, "open") == 0)
        fd = open(log_path, APPEND | O_CLOEXEC, 0644);
    else
        fd = syscall(SYS_openat, AT_FDCWD, log_path, APPEND | O_CLOEXEC, 0644);
    check(fd >= 0);
    struct iovec part = {(void *)text, length};
    ssize_t written;
    if (strcmp(way, "pwrite64") == 0)
        written = syscall(SYS_pwrite64, fd, text, length, 0L);
    else if (strcmp(way, "pwritev") == 0)
        written = syscall(SYS_pwritev, fd, &part, 1L, 0L, 0L);
    else
        written = syscall(SYS_write, fd, text, length);
    check(written == (ssize_t)length);
    syscall(SYS_close, fd);
}

/* Appends by the standard output of another program. */
static void append_by_child(const char *way, char *text)
{
    /* `...-print` is by a stream. */
    char *arguments[] = {self, strchr(way, '-') ? "print" : "say", text, NULL};
    char command[8192];
    pid_t child;
    if (strncmp(way, "shell", 5) == 0) {
        const char *how = strcmp(way, "shell-echo") == 0   ? "/bin/echo -n '%s' >> '%s'"
                          : strcmp(way, "shell-bash") == 0 ? "bash -c 'printf %%s \"$0\" >> \"$1\"; true' '%s' '%s'"
                                                           : "exec \"$SELF\" say '%s' >> '%s'";
        setenv("SELF", self, 1);
        snprintf(command, sizeof command, how, text, log_path);
        check(system(command) == 0);
        return;
    }
    if (strcmp(way, "spawn") == 0) {
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 1, log_path, APPEND, 0644);
        check(posix_spawn(&child, self, &actions, NULL, arguments, environ) == 0);
        posix_spawn_file_actions_destroy(&actions);
    } else if (strncmp(way, "lent", 4) == 0) {
        int fd = open(log_path, APPEND | O_CLOEXEC, 0644);
        if ((child = vfork()) == 0) {
            dup2(fd, 1);
            execv(self, arguments);
            _exit(9);
        }
        close(fd);
    } else {
        child = strncmp(way, "vfork", 5) == 0 ? vfork() : fork();
        if (child == 0) {
            int fd = open(log_path, APPEND, 0644);
            dup2(fd, 1);
            close(fd);
            execv(self, arguments);
            _exit(9);
        }
    }
    int status;
    check(waitpid(child, &status, 0) == child && status == 0);
}

int main(int count, char **arguments)
{
    if (count == 3 && strcmp(arguments[1], "say") == 0)
        return write(1, arguments[2], strlen(arguments[2])) < 0;
    if (count == 3 && strcmp(arguments[1], "print") == 0)
        return printf("%s", arguments[2]) < 0;
    if (count != 4)
        return 2;
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = 0;
    log_path = arguments[3];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[2]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
        return 4;
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        char request[4096], text[128], way[32];
        for (ssize_t size; (size = read(client, request, sizeof request - 1)) > 0;) {
            request[size] = 0;
            snprintf(way, sizeof way, "%.*s", (int)strcspn(request + 5, " "), request + 5);
            int written = snprintf(text, sizeof text, "by %s\n", way);
            if (strcmp(way, "log") == 0) {
                errno = ENOENT;
                syslog(LOG_WARNING, "%s: %m", way);
                openlog("deeds", LOG_NDELAY | LOG_PID, LOG_LOCAL1);
                setlogmask(LOG_UPTO(LOG_INFO));
                syslog(LOG_INFO, "%2000d", 7);
                syslog(LOG_DEBUG, "nobody asks for it");
                syslog(LOG_MAIL | LOG_ERR, "not a %%s");
                closelog();
            } else if (strchr("sflv", way[0]))
                append_by_child(way, text);
            else
                append(way, text, (size_t)written);
            static const char response[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if (write(client, response, sizeof response - 1) < 0)
                break;
        }
        close(client);
    }
}

/* A server on loopback whose requests are answered by processes that it makes, in one way or another:
 *
 *   processes serve PORT UPSTREAM    GET /<way>[/...] is answered with what the upstream says of the path
 *   processes daemon PORT UPSTREAM   the same, as a daemon
 *   processes late-daemon PORT UPSTREAM   the same, which opens its socket a second after its maker has ended
 *   processes ask UPSTREAM PATH      asks, and prints the answer
 *   processes answer UPSTREAM PATH   asks, and answers an HTTP request on its standard output
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char self[4096];
static const char *upstream;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void send_all(int fd, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t sent = write(fd, text, left);
        if (sent <= 0)
            die("write");
        text += sent;
        left -= (size_t)sent;
    }
}

/* What the upstream answers to GET path: the body. */
static void ask(const char *port, const char *path, char *body, size_t room)
{
    char text[4096];
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address))
        die("connect");
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: upstream\r\nConnection: close\r\n\r\n", path);
    send_all(fd, text);
    size_t length = 0;
    ssize_t got;
    while (length + 1 < sizeof text && (got = read(fd, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = 0;
    close(fd);
    char *end = strstr(text, "\r\n\r\n");
    snprintf(body, room, "%s", end ? end + 4 : "?");
}

static void answer(int fd, const char *body)
{
    char text[4096];
    snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    send_all(fd, text);
}

static void read_all(FILE *from, char *body, size_t room)
{
    size_t length = fread(body, 1, room - 1, from);
    body[length] = 0;
}

/* Runs `processes ask` by a shell or itself, and gives what it prints. */
static void run(const char *way, const char *path, char *body, size_t room)
{
    char command[8192];
    char output[] = "/tmp/koala-processes-XXXXXX";
    snprintf(command, sizeof command, "'%s' ask %s %s", self, upstream, path);
    if (strcmp(way, "popen") == 0) {
        FILE *from = popen(command, "r");
        read_all(from, body, room);
        pclose(from);
        return;
    }
    int fd = mkstemp(output);
    if (strcmp(way, "system") == 0) {
        strcat(strcat(command, " > "), output);
        if (system(command) != 0)
            die("system");
    } else {
        char *nothing[] = {NULL};
        char *arguments[] = {self, "ask", (char *)upstream, (char *)path, NULL};
        pid_t child;
        if (strcmp(way, "spawn") == 0) {
            posix_spawn_file_actions_t actions;
            posix_spawn_file_actions_init(&actions);
            posix_spawn_file_actions_adddup2(&actions, fd, 1);
            if (posix_spawn(&child, self, &actions, NULL, arguments, nothing))
                die("posix_spawn");
        } else {
            int fast = strcmp(way, "vfork") == 0;
            unsigned long long clone3[8] = {[4] = SIGCHLD};
            if (strcmp(way, "clone") == 0)
                child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
            else if (strcmp(way, "clone3") == 0)
                child = (pid_t)syscall(SYS_clone3, clone3, sizeof clone3);
            else
                child = fast ? vfork() : fork();
            if (child == 0) {
                dup2(fd, 1);
                if (strcmp(way, "clone") == 0)
                    syscall(SYS_execve, self, arguments, nothing);
                if (strcmp(way, "clone3") == 0)
                    syscall(SYS_execveat, AT_FDCWD, self, arguments, nothing, 0);
                execve(self, arguments, nothing);
                _exit(1);
            }
        }
        waitpid(child, NULL, 0);
    }
    FILE *from = fopen(output, "r");
    read_all(from, body, room);
    fclose(from);
    close(fd);
    unlink(output);
}

/* Serves one request; the connection is the caller's no more. */
static void serve(int fd)
{
    char request[4096], body[2048];
    size_t length = 0;
    do {
        ssize_t got = read(fd, request + length, sizeof request - 1 - length);
        if (got <= 0) {
            close(fd);
            return;
        }
        length += (size_t)got;
        request[length] = 0;
    } while (!strstr(request, "\r\n\r\n"));
    char *path = request + 4;
    path[strcspn(path, " ")] = 0;
    char way[32];
    snprintf(way, sizeof way, "%.*s", (int)strcspn(path + 1, "/"), path + 1);
    if (strcmp(way, "fork") == 0) {
        /* The child answers what its parent has read. */
        if (fork() == 0) {
            ask(upstream, path, body, sizeof body);
            answer(fd, body);
            close(fd);
            exit(0);
        }
    } else if (strcmp(way, "exec") == 0) {
        /* So does the program that the child executes, on its standard output. */
        if (fork() == 0) {
            dup2(fd, 1);
            close(fd);
            execl(self, self, "answer", upstream, path, (char *)NULL);
            exit(1);
        }
    } else if (strcmp(way, "late") == 0) {
        /* Answered at once; what was started goes on. */
        answer(fd, "later");
        if (fork() == 0) {
            close(fd);
            usleep(20000);
            ask(upstream, path, body, sizeof body);
            exit(0);
        }
    } else {
        run(way, path, body, sizeof body);
        answer(fd, body);
    }
    close(fd);
}

static void on_end(int signal)
{
    (void)signal;
    _exit(0);
}

int main(int count, char **arguments)
{
    if (count < 4)
        return 2;
    char body[2048];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = 0;
    const char *what = arguments[1];
    if (strcmp(what, "ask") == 0 || strcmp(what, "answer") == 0) {
        ask(arguments[2], arguments[3], body, sizeof body);
        if (strcmp(what, "ask") == 0)
            send_all(1, body);
        else
            answer(1, body);
        return 0;
    }
    upstream = arguments[3];
    int late = strcmp(what, "late-daemon") == 0;
    if (late || strcmp(what, "daemon") == 0) {
        for (int times = 0; times < 2; times++) {
            if (fork() != 0)
                _exit(0);
            setsid();
        }
        if (late)
            sleep(1);
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            return 1;
    }
    signal(SIGTERM, on_end);
    /* Children are reaped by nobody: they are waited for where that matters. */
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = loopback(arguments[2]);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64))
        die("listen");
    /* Whatever the program starts has to do without what the environment says. */
    clearenv();
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    for (;;) {
        /* Told to end, it ends between two requests. */
        sigprocmask(SIG_UNBLOCK, &ending, NULL);
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        sigprocmask(SIG_BLOCK, &ending, NULL);
        if (fd >= 0)
            serve(fd);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}

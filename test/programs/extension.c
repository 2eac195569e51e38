/* What a program loads with RTLD_DEEPBIND: `talk` asks the server at a port of loopback for a path, by libc's functions in
 * one of these ways: 0, as it was linked; 1, as dlsym(3) finds them behind the extension; 2, all but the sends so: those as
 * libc's own handle has them, which no preloaded library sees. Returns how many bytes came back, or -1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

long talk(int port, const char *path, int way)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int (*opens)(int, int, int) = socket;
    int (*connects)(int, const struct sockaddr *, socklen_t) = connect;
    ssize_t (*sends)(int, const void *, size_t, int) = send;
    ssize_t (*receives)(int, void *, size_t, int) = recv;
    if (way > 0) {
        opens = (int (*)(int, int, int))dlsym(RTLD_DEFAULT, "socket");
        connects = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_DEFAULT, "connect");
        receives = (ssize_t(*)(int, void *, size_t, int))dlsym(RTLD_DEFAULT, "recv");
        void *from = way == 1 ? RTLD_DEFAULT : dlopen("libc.so.6", RTLD_NOW);
        sends = (ssize_t(*)(int, const void *, size_t, int))dlsym(from, "send");
    }
    char text[512];
    int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path);
    int fd = opens(AF_INET, SOCK_STREAM, 0);
    if (connects(fd, (struct sockaddr *)&address, sizeof address) != 0 || sends(fd, text, (size_t)length, 0) != length)
        return -1;
    long all = 0;
    ssize_t got;
    while ((got = receives(fd, text, sizeof text, 0)) > 0)
        all += got;
    close(fd);
    return all;
}

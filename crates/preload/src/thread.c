/* What stable Rust cannot say: thread-local storage of the initial-exec model, weak symbols, and variadic
 * functions. Everything else of libkoala.so is Rust. */
#include <stdarg.h>
#include <stddef.h>

#define HIDDEN __attribute__((visibility("hidden")))

/* Storage for `Thread` of thread.rs, which checks the size. Zeroed at thread start; no call into libc is ever
 * made to reach it, so that a signal handler may. */
static __thread unsigned long storage[16] __attribute__((tls_model("initial-exec"), aligned(64)));

HIDDEN void *koala_thread(void)
{
    return storage;
}

/* The program's environment as it is now; NULL as long as libc has not set it. */
extern char **environ __attribute__((weak));

HIDDEN char **koala_environ(void)
{
    return &environ ? environ : NULL;
}

HIDDEN _Bool koala_exchange_environ(char **from, char **to)
{
    return &environ && __atomic_compare_exchange_n(&environ, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* exec(3): the variadic forms, as vectors. The arrays live on the stack: exec must not allocate, it may run
 * in the child of a vfork. */
HIDDEN int koala_execv(const char *path, char *const argv[]);
HIDDEN int koala_execvp(const char *file, char *const argv[]);
HIDDEN int koala_execve(const char *path, char *const argv[], char *const envp[]);

#define COLLECT(argument, list, count, argv)                     \
    size_t count = 1;                                            \
    va_start(list, argument);                                    \
    while (va_arg(list, char *))                                 \
        count++;                                                 \
    va_end(list);                                                \
    char *argv[count + 1];                                       \
    argv[0] = (char *)(size_t)argument;                          \
    va_start(list, argument);                                    \
    for (size_t at = 1; at <= count; at++)                       \
        argv[at] = va_arg(list, char *)

HIDDEN int koala_execl(const char *path, const char *argument, ...)
{
    va_list list;
    COLLECT(argument, list, count, argv);
    va_end(list);
    return koala_execv(path, argv);
}

HIDDEN int koala_execlp(const char *file, const char *argument, ...)
{
    va_list list;
    COLLECT(argument, list, count, argv);
    va_end(list);
    return koala_execvp(file, argv);
}

HIDDEN int koala_execle(const char *path, const char *argument, ...)
{
    va_list list;
    COLLECT(argument, list, count, argv);
    char *const *envp = va_arg(list, char *const *);
    va_end(list);
    return koala_execve(path, argv, envp);
}

/* dprintf(3) on a socket: libc would write to it by itself, past every hook. So it formats, and koala writes. */
HIDDEN void *koala_function(int which);
HIDDEN _Bool koala_is_followed(int fd);
HIDDEN int koala_print(int fd, const char *text, int length);
HIDDEN char *koala_allocate(size_t size);
HIDDEN void koala_free(char *memory, size_t size);

typedef int vdprintf_function(int, const char *, va_list);
typedef int vdprintf_chk_function(int, int, const char *, va_list);
typedef int vsnprintf_function(char *, size_t, const char *, va_list);
typedef int vsnprintf_chk_function(char *, size_t, int, size_t, const char *, va_list);

/* `flag` is that of the fortified forms, and negative in the others. */
static int format_into(char *to, size_t size, int flag, const char *format, va_list list)
{
    void *function = koala_function(flag < 0 ? 2 : 3);
    if (!function)
        return -1;
    if (flag < 0)
        return ((vsnprintf_function *)function)(to, size, format, list);
    return ((vsnprintf_chk_function *)function)(to, size, flag, size, format, list);
}

/* Hands what is formatted to `use`, and returns what that returns; negative where it can't be formatted. */
static int formatted(int (*use)(int, const char *, int), int context, int flag, const char *format, va_list list)
{
    char text[1024];
    va_list copy;
    va_copy(copy, list);
    int length = format_into(text, sizeof text, flag, format, copy);
    va_end(copy);
    if (length < 0 || (size_t)length < sizeof text)
        return length < 0 ? length : use(context, text, length);
    size_t size = (size_t)length + 1;
    char *large = koala_allocate(size);
    if (!large)
        return -1;
    length = format_into(large, size, flag, format, list);
    int result = length < 0 ? length : use(context, large, length);
    koala_free(large, size);
    return result;
}

static int print(int fd, int flag, const char *format, va_list list)
{
    if (koala_is_followed(fd))
        return formatted(koala_print, fd, flag, format, list);
    void *function = koala_function(flag < 0 ? 0 : 1);
    if (!function)
        return -1;
    if (flag < 0)
        return ((vdprintf_function *)function)(fd, format, list);
    return ((vdprintf_chk_function *)function)(fd, flag, format, list);
}

HIDDEN int koala_vdprintf(int fd, const char *format, va_list list)
{
    return print(fd, -1, format, list);
}

HIDDEN int koala_vdprintf_chk(int fd, int flag, const char *format, va_list list)
{
    return print(fd, flag < 0 ? 0 : flag, format, list);
}

HIDDEN int koala_dprintf(int fd, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int result = print(fd, -1, format, list);
    va_end(list);
    return result;
}

HIDDEN int koala_dprintf_chk(int fd, int flag, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int result = print(fd, flag < 0 ? 0 : flag, format, list);
    va_end(list);
    return result;
}

/* syslog(3): libc sends the message by itself, past every hook. The format may ask for errno. */
HIDDEN _Bool koala_is_logged(int priority);
HIDDEN int koala_logged(int priority, const char *text, int length);
HIDDEN int koala_errno(int set, int value);

typedef void vsyslog_function(int, const char *, va_list);
typedef void vsyslog_chk_function(int, int, const char *, va_list);

static void log_message(int priority, int flag, const char *format, va_list list)
{
    int before = koala_errno(0, 0);
    if (koala_is_logged(priority)) {
        va_list copy;
        koala_errno(1, before);
        va_copy(copy, list);
        int held_back = formatted(koala_logged, priority, flag, format, copy);
        va_end(copy);
        koala_errno(1, before);
        if (held_back == 1)
            return;
    }
    void *function = koala_function(flag < 0 ? 4 : 5);
    if (!function)
        return;
    if (flag < 0)
        ((vsyslog_function *)function)(priority, format, list);
    else
        ((vsyslog_chk_function *)function)(priority, flag, format, list);
}

HIDDEN void koala_vsyslog(int priority, const char *format, va_list list)
{
    log_message(priority, -1, format, list);
}

HIDDEN void koala_vsyslog_chk(int priority, int flag, const char *format, va_list list)
{
    log_message(priority, flag < 0 ? 0 : flag, format, list);
}

HIDDEN void koala_syslog(int priority, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    log_message(priority, -1, format, list);
    va_end(list);
}

HIDDEN void koala_syslog_chk(int priority, int flag, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    log_message(priority, flag < 0 ? 0 : flag, format, list);
    va_end(list);
}

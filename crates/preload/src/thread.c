/* What stable Rust cannot say: thread-local storage of the initial-exec model, weak symbols, and variadic
 * functions. Everything else of libkoala.so is Rust. */
#include <stdarg.h>
#include <stddef.h>

#define HIDDEN __attribute__((visibility("hidden")))

/* Storage for `Thread` of thread.rs, which checks the size. Zeroed at thread start; no call into libc is ever
 * made to reach it, so that a signal handler may. */
static __thread unsigned long storage[8] __attribute__((tls_model("initial-exec"), aligned(64)));

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

/* `loading EXTENSION PORT PATH WAY`: loads the extension with RTLD_DEEPBIND, as PHP does, and has it ask. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments)
{
    if (count != 5)
        return 2;
    void *extension = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (!extension) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    long (*talk)(int, const char *, int) = (long (*)(int, const char *, int))dlsym(extension, "talk");
    printf("%ld bytes\n", talk(atoi(arguments[2]), arguments[3], atoi(arguments[4])));
    return 0;
}

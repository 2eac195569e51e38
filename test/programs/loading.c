/* `loading EXTENSION PORT PATH WAY`: loads the extension with RTLD_DEEPBIND, as PHP does, and has it ask; with the way
 * `apart`, into a namespace of its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **arguments)
{
    if (count != 5)
        return 2;
    void *extension = strcmp(arguments[4], "apart") == 0
                          ? dlmopen(LM_ID_NEWLM, arguments[1], RTLD_NOW)
                          : dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (!extension) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    long (*talk)(int, const char *, int) = (long (*)(int, const char *, int))dlsym(extension, "talk");
    printf("%ld bytes\n", talk(atoi(arguments[2]), arguments[3], atoi(arguments[4])));
    return 0;
}

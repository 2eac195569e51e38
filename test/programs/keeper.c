/* keeper: does nothing on the network; linked statically, it is a program that no preloaded library can cover. */
int main(void) { return 0; }

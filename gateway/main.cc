// The one binary: command line, master, controller and worker.
#include "gateway/control/commands.h"

int main(int argc, char** argv) { return sluice::RunSluice(argc, argv); }

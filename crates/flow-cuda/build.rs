//! Compiles the C++ here, which needs the C++ compiler that tch needs, too, and no header of libtorch or CUDA.

fn main() {
    let files = ["src/adam.cpp", "src/exact.cpp", "src/graph.cpp"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    cc::Build::new().cpp(true).std("c++17").files(files).compile("flow_cuda");
}

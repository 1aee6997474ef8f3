// SPDX-License-Identifier: Apache-2.0
#include "core/quic/path_protection_openssl.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <array>

namespace masque {

namespace {

template <class T, void (*Free)(T*)>
struct Freer {
  void operator()(T* object) const { Free(object); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, Freer<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>>;
using Cipher = std::unique_ptr<EVP_CIPHER, Freer<EVP_CIPHER, EVP_CIPHER_free>>;
using Mac = std::unique_ptr<EVP_MAC, Freer<EVP_MAC, EVP_MAC_free>>;
using MacContext = std::unique_ptr<EVP_MAC_CTX, Freer<EVP_MAC_CTX, EVP_MAC_CTX_free>>;

constexpr size_t kMaskKeySize = 16;
constexpr size_t kSealKeySize = 32;
constexpr size_t kTagKeySize = 16;
constexpr size_t kCheckKeySize = 16;
static_assert(kMaskKeySize + kSealKeySize + kTagKeySize + kCheckKeySize ==
              PathProtection::kSecretSize);

int as_int(size_t size) { return static_cast<int>(size); }

class OpensslPathProtection final : public PathProtection {
 public:
  bool set_up(Bytes secret) {
    mask_ = block_cipher(secret.first(kMaskKeySize));
    check_ = block_cipher(secret.last(kCheckKeySize));
    seal_.reset(EVP_CIPHER_CTX_new());
    siv_.reset(EVP_CIPHER_fetch(nullptr, "AES-128-SIV", nullptr));
    const Mac mac(EVP_MAC_fetch(nullptr, "CMAC", nullptr));
    if (!mask_ || !check_ || !seal_ || !siv_ || !mac) return false;
    std::ranges::copy(secret.subspan(kMaskKeySize, kSealKeySize), seal_key_.begin());
    tag_.reset(EVP_MAC_CTX_new(mac.get()));
    char name[] = "AES-128-CBC";
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, name, 0), OSSL_PARAM_END};
    const Bytes tag_key = secret.subspan(kMaskKeySize + kSealKeySize, kTagKeySize);
    return tag_ && EVP_MAC_init(tag_.get(), tag_key.data(), tag_key.size(), parameters) == 1;
  }
  ~OpensslPathProtection() override { OPENSSL_cleanse(seal_key_.data(), seal_key_.size()); }

  void mask(std::span<const uint8_t, kSampleSize> sample,
            std::span<uint8_t, kMaskSize> out) override {
    int length = 0;
    EVP_EncryptUpdate(mask_.get(), out.data(), &length, sample.data(), kSampleSize);
  }

  uint32_t check(std::span<const uint8_t, kBlockSize> block) override {
    std::array<uint8_t, kBlockSize> out{};
    int length = 0;
    EVP_EncryptUpdate(check_.get(), out.data(), &length, block.data(), kBlockSize);
    return load_be32(out.data()) >> 8;
  }

  uint64_t tag(Bytes first, Bytes second) override {
    std::array<uint8_t, 16> out{};
    size_t length = 0;
    if (EVP_MAC_init(tag_.get(), nullptr, 0, nullptr) != 1 ||
        EVP_MAC_update(tag_.get(), first.data(), first.size()) != 1 ||
        EVP_MAC_update(tag_.get(), second.data(), second.size()) != 1) {
      return 0;
    }
    EVP_MAC_final(tag_.get(), out.data(), &length, out.size());
    return uint64_t{load_be32(out.data())} << 32 | load_be32(out.data() + 4);
  }

  bool seal(Bytes associated, Bytes plain, MutableBytes out) override {
    if (out.size() != plain.size() + kSealOverhead) return false;
    EVP_CIPHER_CTX* context = seal_.get();
    int length = 0;
    return EVP_EncryptInit_ex2(context, siv_.get(), seal_key_.data(), nullptr, nullptr) == 1 &&
           EVP_EncryptUpdate(context, nullptr, &length, associated.data(),
                             as_int(associated.size())) == 1 &&
           EVP_EncryptUpdate(context, out.data(), &length, plain.data(), as_int(plain.size())) ==
               1 &&
           EVP_EncryptFinal_ex(context, nullptr, &length) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kSealOverhead,
                               out.last(kSealOverhead).data()) == 1;
  }

  bool open(Bytes associated, Bytes sealed, MutableBytes out) override {
    if (sealed.size() != out.size() + kSealOverhead || out.empty()) return false;
    EVP_CIPHER_CTX* context = seal_.get();
    std::array<uint8_t, kSealOverhead> tag;
    std::ranges::copy(sealed.last(kSealOverhead), tag.begin());
    int length = 0;
    return EVP_DecryptInit_ex2(context, siv_.get(), seal_key_.data(), nullptr, nullptr) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kSealOverhead, tag.data()) == 1 &&
           EVP_DecryptUpdate(context, nullptr, &length, associated.data(),
                             as_int(associated.size())) == 1 &&
           EVP_DecryptUpdate(context, out.data(), &length, sealed.data(), as_int(out.size())) ==
               1 &&
           EVP_DecryptFinal_ex(context, nullptr, &length) == 1;
  }

 private:
  // Null when OpenSSL refuses.
  static CipherContext block_cipher(Bytes key) {
    CipherContext out(EVP_CIPHER_CTX_new());
    if (!out ||
        EVP_EncryptInit_ex2(out.get(), EVP_aes_128_ecb(), key.data(), nullptr, nullptr) != 1)
      return nullptr;
    EVP_CIPHER_CTX_set_padding(out.get(), 0);
    return out;
  }

  CipherContext mask_;
  CipherContext check_;
  CipherContext seal_;
  Cipher siv_;
  MacContext tag_;
  std::array<uint8_t, kSealKeySize> seal_key_{};
};

}  // namespace

std::unique_ptr<PathProtection> make_openssl_path_protection(Bytes secret) {
  if (secret.size() != PathProtection::kSecretSize) return nullptr;
  auto out = std::make_unique<OpensslPathProtection>();
  if (!out->set_up(secret)) return nullptr;
  return out;
}

}  // namespace masque

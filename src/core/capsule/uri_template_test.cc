// SPDX-License-Identifier: Apache-2.0
#include "core/capsule/uri_template.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "core/capsule/scope.h"

namespace masque {
namespace {

using Values = UriTemplate::Values;

UriTemplate parsed(std::string_view text) {
  auto result = UriTemplate::parse(text);
  EXPECT_TRUE(result) << text << ": " << (result ? "" : to_string(result.error()));
  return *result;
}

// proves: T1, T2, T3
TEST(UriTemplate, rfc9484_3_examples_are_accepted) {
  for (const std::string_view text :
       {"https://example.org/.well-known/masque/ip/{target}/{ipproto}/",
        "https://proxy.example.org:4443/masque/ip?t={target}&i={ipproto}",
        "https://proxy.example.org:4443/masque/ip{?target,ipproto}",
        "https://masque.example.org/?user=bob", "https://[2001:db8::1]:443/x",
        "HTTPS://h/{a.b}/{c_d}/{%41}", "https://h/a{?target}{&ipproto,other}"}) {
    const UriTemplate t = parsed(text);
    EXPECT_EQ(t.scheme(), "https");
    EXPECT_EQ(t.text(), text);
  }
  EXPECT_EQ(parsed("https://proxy.example.org:4443/x").authority(), "proxy.example.org:4443");
}

// proves: T2, T3, T5, T6, T7
TEST(UriTemplate, rfc9484_3_violations_are_refused) {
  const struct {
    std::string_view text;
    TemplateFault fault;
  } kCases[] = {
      {"", TemplateFault::NotAbsolute},
      {"/masque/ip/{target}", TemplateFault::NotAbsolute},
      {"https:/h/x", TemplateFault::NotAbsolute},
      {"://h/x", TemplateFault::BadScheme},
      {"1s://h/x", TemplateFault::BadScheme},
      {"{s}://h/x", TemplateFault::VariableOutside},
      {"https://{host}/x", TemplateFault::VariableOutside},
      {"https://h:{port}/x", TemplateFault::VariableOutside},
      {"https://h{?a}", TemplateFault::VariableOutside},
      {"https:///x", TemplateFault::BadAuthority},
      {"https://:443/x", TemplateFault::BadAuthority},
      {"https://h:/x", TemplateFault::BadAuthority},
      {"https://h:65536/x", TemplateFault::BadAuthority},
      {"https://user@h/x", TemplateFault::BadAuthority},
      {"https://[::1/x", TemplateFault::BadAuthority},
      {"https://h", TemplateFault::PathNotRooted},
      {"https://h?x={target}", TemplateFault::PathNotRooted},
      {"https://h#f", TemplateFault::PathNotRooted},
      {"https://h/x#f", TemplateFault::HasFragment},
      {"https://h/x#{target}", TemplateFault::HasFragment},
      {"https://h/{+target}", TemplateFault::ForbiddenOperator},
      {"https://h/{#target}", TemplateFault::ForbiddenOperator},
      {"https://h/x{.target}", TemplateFault::ForbiddenOperator},
      {"https://h{/target}", TemplateFault::VariableOutside},
      {"https://h/{/target}", TemplateFault::ForbiddenOperator},
      {"https://h/x{;target}", TemplateFault::ForbiddenOperator},
      {"https://h/{=target}", TemplateFault::ForbiddenOperator},
      {"https://h/{|target}", TemplateFault::ForbiddenOperator},
      {"https://h/{target:3}", TemplateFault::ModifierForbidden},
      {"https://h/{target*}", TemplateFault::ModifierForbidden},
      {"https://h/{}", TemplateFault::BadExpression},
      {"https://h/{?}", TemplateFault::BadExpression},
      {"https://h/{a,}", TemplateFault::BadExpression},
      {"https://h/{a", TemplateFault::BadExpression},
      {"https://h/a}", TemplateFault::BadExpression},
      {"https://h/{{a}}", TemplateFault::BadExpression},
      {"https://h/{a-b}", TemplateFault::BadExpression},
      {"https://h/{.}", TemplateFault::ForbiddenOperator},
      {"https://h/a b", TemplateFault::BadCharacter},
      {"https://h/a\x7f", TemplateFault::BadCharacter},
      {"https://h/\xc3\xa9", TemplateFault::BadCharacter},
      {"https://h/%4", TemplateFault::BadCharacter},
      {"https://h/<a>", TemplateFault::BadCharacter},
  };
  for (const auto& c : kCases) {
    const auto result = UriTemplate::parse(c.text);
    ASSERT_FALSE(result) << c.text;
    EXPECT_EQ(result.error(), c.fault) << c.text << ": " << to_string(result.error());
  }
}

TEST(UriTemplate, limits_at_and_past) {
  std::string text = "https://h/" + std::string(kUriTemplateMax - 10, 'a');
  EXPECT_TRUE(UriTemplate::parse(text));
  EXPECT_EQ(UriTemplate::parse(text + "a").error(), TemplateFault::TooLong);
  text = "https://h/";
  for (size_t i = 1; i < kUriTemplatePartsMax; ++i) text += "{a}";
  EXPECT_TRUE(UriTemplate::parse(text));
  EXPECT_EQ(UriTemplate::parse(text + "{a}").error(), TemplateFault::TooManyParts);
  EXPECT_EQ(
      parsed("https://h/{target}").match_path("/" + std::string(kRequestPathMax, 'a')).error(),
      MatchFault::NoMatch);
}

// proves: T8
TEST(UriTemplate, rfc9484_3_default_template) {
  const UriTemplate t = UriTemplate::well_known("vpn.example.org:8443").value();
  EXPECT_EQ(t.expand_path({.target = "*", .ipproto = "*"}), "/.well-known/masque/ip/%2A/%2A/");
  EXPECT_EQ(t.authority(), "vpn.example.org:8443");
  EXPECT_FALSE(UriTemplate::well_known("a/b?c{d}"));
  EXPECT_FALSE(UriTemplate::well_known(""));
}

// proves: T9
TEST(UriTemplate, rfc6570_3_2_expansion_of_protocol_3_1_table) {
  const UriTemplate t = parsed("https://h/ip/{target}/{ipproto}/");
  const auto expand = [&](std::string target) {
    return t.expand_path({.target = std::move(target), .ipproto = "17"});
  };
  EXPECT_EQ(expand("*"), "/ip/%2A/17/");
  EXPECT_EQ(expand("2001:db8::42"), "/ip/2001%3Adb8%3A%3A42/17/");
  EXPECT_EQ(expand("192.0.2.0/24"), "/ip/192.0.2.0%2F24/17/");
  EXPECT_EQ(expand("2001:db8::/32"), "/ip/2001%3Adb8%3A%3A%2F32/17/");
  EXPECT_EQ(expand("target.example.com"), "/ip/target.example.com/17/");
  EXPECT_EQ(expand("a%b"), "/ip/a%25b/17/");
  EXPECT_EQ(expand("\xc3\xa9~_-"), "/ip/%C3%A9~_-/17/");
}

// proves: T1, T9
TEST(UriTemplate, rfc6570_3_2_8_query_expressions) {
  const Values both{.target = "a/b", .ipproto = "6"};
  EXPECT_EQ(parsed("https://h/x{?target,ipproto}").expand_path(both), "/x?target=a%2Fb&ipproto=6");
  EXPECT_EQ(parsed("https://h/x?k=v{&target,ipproto}").expand_path(both),
            "/x?k=v&target=a%2Fb&ipproto=6");
  EXPECT_EQ(parsed("https://h/x{?target}{&ipproto}").expand_path(both),
            "/x?target=a%2Fb&ipproto=6");
  EXPECT_EQ(parsed("https://h/x{?target,ipproto}").expand_path({}), "/x");
  EXPECT_EQ(parsed("https://h/x{?target,ipproto}").expand_path({.ipproto = "6"}), "/x?ipproto=6");
  EXPECT_EQ(parsed("https://h/{target,ipproto}").expand_path(both), "/a%2Fb,6");
  EXPECT_EQ(parsed("https://h/{other}/{target}").expand_path(both), "//a%2Fb");
  EXPECT_EQ(parsed("https://h/fixed").expand_path(both), "/fixed");
}

// proves: T8, S1
TEST(UriTemplate, match_splits_the_raw_path_and_decodes_once) {
  const UriTemplate t = UriTemplate::well_known("h").value();
  const auto match = [&](std::string_view tail) {
    return t.match_path("/.well-known/masque/ip/" + std::string(tail));
  };
  EXPECT_EQ(match("*/*/"), (Values{.target = "*", .ipproto = "*"}));
  EXPECT_EQ(match("%2A/%2a/"), (Values{.target = "*", .ipproto = "*"}));
  EXPECT_EQ(match("192.0.2.0%2F24/17/"), (Values{.target = "192.0.2.0/24", .ipproto = "17"}));
  EXPECT_EQ(match("2001:db8::1/6/"), (Values{.target = "2001:db8::1", .ipproto = "6"}));
  EXPECT_EQ(match("a%252Fb/6/"), (Values{.target = "a%2Fb", .ipproto = "6"}))
      << "decoded once only";
  EXPECT_EQ(match("//"), (Values{.target = "", .ipproto = ""}))
      << "parse_scope refuses empty values";
  for (const std::string_view tail :
       {"", "*/*", "*/*/x", "*/*//", "192.0.2.0/24/17/", "*/*/?a=b", "*/*/#f"}) {
    ASSERT_FALSE(match(tail)) << tail;
    EXPECT_EQ(match(tail).error(), MatchFault::NoMatch) << tail;
  }
  EXPECT_EQ(match("%/6/").error(), MatchFault::BadEncoding);
  EXPECT_EQ(match("a%4/6/").error(), MatchFault::BadEncoding);
  EXPECT_EQ(match("a%gg/6/").error(), MatchFault::BadEncoding);
  EXPECT_EQ(t.match_path("").error(), MatchFault::NoMatch);
  EXPECT_EQ(t.match_path("/.WELL-KNOWN/masque/ip/*/*/").error(), MatchFault::NoMatch);
}

TEST(UriTemplate, match_of_queries_and_literals) {
  const UriTemplate query = parsed("https://h/x{?target,ipproto}");
  EXPECT_EQ(query.match_path("/x"), Values{});
  EXPECT_EQ(query.match_path("/x?ipproto=6&target=%3A"), (Values{.target = ":", .ipproto = "6"}));
  EXPECT_EQ(query.match_path("/x?ipproto=6"), (Values{.ipproto = "6"}));
  for (const std::string_view path : {"/x?", "/x?target", "/x?a=b", "/x?target=a&target=a",
                                      "/x?target=a&", "/x&target=a", "/y"}) {
    EXPECT_EQ(query.match_path(path).error(), MatchFault::NoMatch) << path;
  }
  const UriTemplate split = parsed("https://h/x?k=v{&target}{&ipproto}");
  EXPECT_EQ(split.match_path("/x?k=v&ipproto=1&target=2"), (Values{.target = "2", .ipproto = "1"}));
  EXPECT_EQ(parsed("https://h/?t={target}&i={ipproto}").match_path("/?t=1.2.3.4&i=*"),
            (Values{.target = "1.2.3.4", .ipproto = "*"}));
  EXPECT_EQ(parsed("https://h/{target}-tail/x").match_path("/a%2Db-tail/x"),
            (Values{.target = "a-b"}));
  EXPECT_EQ(parsed("https://h/{target,ipproto}").match_path("/a,6"),
            (Values{.target = "a", .ipproto = "6"}));
  EXPECT_EQ(parsed("https://h/{target}/{target}").match_path("/a/a"), (Values{.target = "a"}));
  EXPECT_EQ(parsed("https://h/{target}/{target}").match_path("/a/b").error(),
            MatchFault::BadEncoding);
  EXPECT_EQ(parsed("https://h/fixed").match_path("/fixed"), Values{});
}

TEST(UriTemplate, has_variable) {
  const UriTemplate t = parsed("https://h/{target}{?x,ipproto}");
  EXPECT_TRUE(t.has_variable("target"));
  EXPECT_TRUE(t.has_variable("ipproto"));
  EXPECT_FALSE(t.has_variable("tar"));
}

// proves: T9, S1
TEST(UriTemplate, property_match_undoes_expand) {
  EXPECT_TRUE(rc::check([](std::string target, std::string ipproto) {
    if (target.empty()) target = "*";
    if (ipproto.empty()) ipproto = "*";
    RC_PRE(target.size() + ipproto.size() < 1000);
    const Values values{.target = target, .ipproto = ipproto};
    for (const std::string_view text :
         {"https://h/{target}/{ipproto}/", "https://h/x{?target,ipproto}",
          "https://h/?t={target}&i={ipproto}", "https://h/{target,ipproto}"}) {
      const UriTemplate t = UriTemplate::parse(text).value();
      RC_ASSERT(t.match_path(t.expand_path(values)).value() == values);
    }
  }));
}

Result<Scope> scope(std::optional<std::string> target,
                    std::optional<std::string> ipproto = std::nullopt) {
  return parse_scope({.target = std::move(target), .ipproto = std::move(ipproto)});
}

// proves: S1, S2, S4, S11
TEST(Scope, rfc9484_4_6_targets_and_protocols) {
  EXPECT_EQ(scope(std::nullopt), Scope{});
  EXPECT_EQ(scope("*", "*"), Scope{});
  EXPECT_EQ(scope("192.0.2.1")->prefix.to_string(), "192.0.2.1/32");
  EXPECT_EQ(scope("192.0.2.0/24")->prefix.to_string(), "192.0.2.0/24");
  EXPECT_EQ(scope("2001:db8::/32")->prefix.to_string(), "2001:db8::/32");
  EXPECT_EQ(scope("::/0")->target, Scope::Target::Prefix);
  EXPECT_EQ(scope("target.example.com")->target, Scope::Target::Name);
  EXPECT_EQ(scope("target.example.com.")->name, "target.example.com.");
  EXPECT_EQ(scope("xn--bcher-kva.example")->target, Scope::Target::Name);
  EXPECT_EQ(scope("*", "0")->protocol, 0);
  EXPECT_EQ(scope("*", "255")->protocol, 255);
  EXPECT_EQ(scope("*", "017")->protocol, 17);
}

// proves: S2, S3, S4, S5, T4
TEST(Scope, rfc9484_4_6_invalid_values_are_refused) {
  for (const std::string_view target : {"",
                                        " ",
                                        "192.0.2.1/24",
                                        "192.0.2.0/33",
                                        "192.0.2.0/",
                                        "192.0.2.0/-1",
                                        "192.0.2.0/024",
                                        "2001:db8::1/64",
                                        "2001:db8::/129",
                                        "fe80::1%eth0",
                                        "fe80::1%25eth0",
                                        "[::1]",
                                        "192.0.2.256",
                                        "127.1",
                                        "2130706433",
                                        "0x7f.1",
                                        "a.0x7f",
                                        "example.com/24",
                                        "a b",
                                        "a/b",
                                        "h:443",
                                        "%",
                                        ".",
                                        "..",
                                        "a..",
                                        "\xc3\xa9.example"}) {
    EXPECT_FALSE(scope(std::string(target))) << target;
  }
  EXPECT_FALSE(scope(std::string("a\0b", 3)));
  EXPECT_EQ(scope("192.0.2.1/24").error(), WireError::HostBitsSet);
  for (const std::string_view ipproto :
       {"", "-1", "256", "+6", "6 ", " 6", "0x6", "0006", "tcp", "**"}) {
    EXPECT_FALSE(scope("*", std::string(ipproto))) << ipproto;
  }
}

TEST(Scope, names_at_the_limit_and_past_it) {
  EXPECT_TRUE(scope(std::string(kScopeNameMax, 'a')));
  EXPECT_FALSE(scope(std::string(kScopeNameMax + 1, 'a')));
}

// proves: T4, T9
TEST(Scope, values_go_round) {
  for (const std::string_view target :
       {"*", "192.0.2.1", "192.0.2.0/24", "2001:db8::42", "::/0", "target.example.com"}) {
    for (const std::string_view ipproto : {"*", "0", "17"}) {
      const Scope s = scope(std::string(target), std::string(ipproto)).value();
      EXPECT_EQ(to_values(s),
                (Values{.target = std::string(target), .ipproto = std::string(ipproto)}));
    }
  }
}

}  // namespace
}  // namespace masque

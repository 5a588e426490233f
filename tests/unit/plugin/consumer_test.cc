#include "gateway/plugin/consumer.h"

#include <string>

#include <gtest/gtest.h>

namespace sluice {
namespace {

std::string Names(const HeaderList& fields) {
  std::string names;
  for (const HeaderField& field : fields) names.append(field.name).append(" ");
  return names;
}

TEST(RemoveIdentityFieldsTest, RemovesThemInAnySpelling) {
  HeaderList fields;
  for (const char* name :
       {"X-Consumer-Username", "Host", "x-consumer-custom-id", "X_CONSUMER-Username", "X-Consumer-",
        "Accept", "X-Credential-Identifier", "x_credential_identifier"}) {
    fields.Add(name, "v");
  }
  RemoveIdentityFields(fields);
  EXPECT_EQ(Names(fields), "Host Accept ");
  EXPECT_EQ(fields.Value(HeaderId::kAccept), "v") << "known names are still found";
  EXPECT_TRUE(fields.Has(HeaderId::kHost));
}

TEST(RemoveIdentityFieldsTest, KeepsOthers) {
  HeaderList fields;
  for (const char* name : {"X-Consumer", "X-Credential-Identifiers", "X-Credential",
                           "XX-Consumer-A", "X-Consumers-A", "X"}) {
    fields.Add(name, "v");
  }
  RemoveIdentityFields(fields);
  EXPECT_EQ(fields.size(), 6U);
}

}  // namespace
}  // namespace sluice
